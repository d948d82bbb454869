/** Settings that fit a model and rows: what `dftune init` writes, and why. */
import { freemem } from "node:os"
import { type Columns, type Lint, previewData } from "../data/index.ts"
import { InputError } from "../errors.ts"
import { findModel, readModelConfig } from "../models/files/index.ts"
import { type ModelConfig, weightCount } from "../models/index.ts"
import { shortBytes, shortCount } from "../report/units.ts"

/** Rows that are looked at. */
const LOOKED_AT = 2000

/** What is found of the rows. */
export interface RowFacts {
  readonly rows: number
  /** Whether these were all there are. */
  readonly complete: boolean
  readonly tokens: number
  /** Tokens that 99 % of the rows do not exceed, and the longest row's. */
  readonly most: number
  readonly longest: number
  readonly lints: readonly Lint[]
}

/** What is found of the model. */
export interface ModelFacts {
  readonly folder: string
  readonly model: ModelConfig
  readonly parameters: number
}

interface LookOptions {
  readonly signal?: AbortSignal
}

interface RowsLook extends LookOptions {
  /** `data.columns`. */
  readonly columns?: Columns | undefined
}

/**
 * Reads the model's configs and tokenizer, not its weights.
 *
 * @throws InputError for a family that cannot be trained, or a model that is not there
 */
export async function modelFacts(name: string, { signal }: LookOptions = {}): Promise<ModelFacts> {
  const folder = await findModel(name, {
    withWeights: false,
    ...(signal ? { signal } : {}),
  })
  const model = await readModelConfig(folder)
  return { folder, model, parameters: weightCount(model.shape) }
}

/**
 * Tokenises the first rows as training would.
 *
 * @throws InputError naming a row that cannot be read, or files that are not there
 */
export async function rowFacts(
  path: string,
  { folder }: ModelFacts,
  { signal, columns }: RowsLook = {},
): Promise<RowFacts> {
  const lengths: number[] = []
  const { complete, lints } = await previewData({
    sources: [{ path, weight: 1 }],
    tokenizer: folder,
    template: "auto",
    maxLength: 2 ** 20,
    examples: LOOKED_AT,
    scan: LOOKED_AT,
    show: ({ token_ids }) => {
      lengths.push(token_ids.length)
    },
    ...(columns ? { columns } : {}),
    ...(signal ? { signal } : {}),
  })
  if (lengths.length === 0) throw new InputError(`${path}: holds no rows to train on`)
  const sorted = lengths.toSorted((a, b) => a - b)
  const most = sorted[Math.min(sorted.length - 1, Math.ceil(0.99 * sorted.length) - 1)]!
  const tokens = lengths.reduce((a, b) => a + b, 0)
  return { rows: lengths.length, complete, tokens, most, longest: sorted.at(-1)!, lints }
}

/** A value of the config and the reason for it. */
export interface Proposed<T> {
  readonly value: T
  readonly why: string
}

export interface Proposal {
  readonly adapter: Proposed<boolean>
  readonly learningRate: Proposed<number>
  readonly batchSize: Proposed<number>
  readonly epochs: Proposed<number>
  readonly maxLength: Proposed<number>
  readonly evalSplit: Proposed<number>
  readonly sampleEvery: Proposed<number>
  readonly steps: number
}

export interface ProposalFacts {
  readonly objective: string
  /** Asked for by the user; otherwise memory decides. */
  readonly lora: boolean | undefined
  readonly model: ModelFacts | undefined
  readonly rows: RowFacts | undefined
  /** Of this machine, bytes. */
  readonly memory?: number
}

/** Weights, gradients and two moments in float32. */
const FULL_BYTES = 16
/** Beyond this share of the memory that is free, activations would have no room. */
const FULL_SHARE = 0.6
const STEPS = { least: 100, aim: 250 }
const BATCHES = [4, 8, 16, 32, 64, 128, 256]
const MANY_ROWS = 5000
const MOST_EPOCHS = 8
/** Models far smaller than those of published recipes take larger rates. */
const SMALL_MODEL = 20e6

export function proposal(facts: ProposalFacts): Proposal {
  const adapter = proposedAdapter(facts)
  const maxLength = proposedLength(facts)
  const evalSplit = proposedSplit(facts)
  if (facts.rows === undefined) return blindProposal(facts)
  const { rows, complete } = facts.rows
  const trained = Math.max(1, Math.round(rows * (1 - evalSplit.value)))
  const { epochs, batchSize, steps } = proposedSteps(trained, complete)
  const every = Math.max(1, Math.round(steps / 4))
  return {
    adapter,
    maxLength,
    evalSplit,
    epochs,
    batchSize,
    steps,
    learningRate: proposedRate(facts, adapter.value),
    sampleEvery: { value: every, why: "four times in the run: watch the answers change" },
  }
}

/** Where the rows could not be looked at. */
function blindProposal(facts: ProposalFacts): Proposal {
  const adapter = proposedAdapter(facts)
  const why = "usual; the rows were not looked at"
  return {
    adapter,
    maxLength: proposedLength(facts),
    evalSplit: proposedSplit(facts),
    epochs: { value: 3, why },
    batchSize: { value: 16, why: "so that there are 100 to 1,000 steps" },
    steps: STEPS.aim,
    learningRate: proposedRate(facts, adapter.value),
    sampleEvery: { value: 50, why: "steps between samples: watch the answers change" },
  }
}

function proposedAdapter({ lora, model, memory = freemem() }: ProposalFacts): Proposed<boolean> {
  if (lora !== undefined) return { value: lora, why: lora ? "as asked" : "full fine-tuning" }
  if (model === undefined) {
    return { value: true, why: "a safe choice for a model that could not be looked at" }
  }
  const need = model.parameters * FULL_BYTES
  const size = `${shortCount(model.parameters)} parameters`
  if (need <= FULL_SHARE * memory) {
    return {
      value: false,
      why: `weights, gradients and moments of all ${size} take ${shortBytes(need)} of ${shortBytes(memory)} free`,
    }
  }
  return {
    value: true,
    why: `weights, gradients and moments of all ${size} would take ${shortBytes(need)}, of ${shortBytes(memory)} free`,
  }
}

function proposedLength({ rows, model }: ProposalFacts): Proposed<number> {
  if (rows === undefined) return { value: 2048, why: "the rows were not looked at" }
  const rounded = Math.max(64, Math.ceil(rows.most / 64) * 64)
  const limit = model?.model.shape.maxPositionEmbeddings ?? rounded
  const value = Math.min(rounded, limit)
  return { value, why: `99 % of the rows have at most ${rows.most} tokens` }
}

function proposedSplit({ rows }: ProposalFacts): Proposed<number> {
  const why = "rows held out by the seed: their loss shows when to stop"
  if (rows === undefined || rows.rows >= 1000) return { value: 0.05, why }
  if (rows.rows >= 40) return { value: 0.1, why }
  return { value: 0, why: "too few rows to hold some out" }
}

/** Epochs and batch size that make 100 to 1,000 steps where the rows allow it. */
function proposedSteps(rows: number, complete: boolean) {
  const several = complete && rows < MANY_ROWS
  let count = several ? 3 : 1
  const fits = (batch: number) => (rows * count) / batch >= STEPS.aim
  const batch = BATCHES.findLast((size) => fits(size)) ?? BATCHES[0]!
  while (several && count < MOST_EPOCHS && Math.ceil((rows * count) / batch) < STEPS.least) count++
  const steps = Math.max(1, Math.ceil((rows * count) / batch))
  const of = complete ? `${rows} rows` : `more than ${rows} rows`
  return {
    steps,
    epochs: {
      value: count,
      why: count === 1 ? "one pass over many rows" : "passes over few rows; more begin to recite",
    },
    batchSize: { value: batch, why: `${complete ? "" : "at least "}${steps} steps of ${of}` },
  }
}

function proposedRate({ objective, model }: ProposalFacts, adapter: boolean): Proposed<number> {
  if (model !== undefined && model.parameters < SMALL_MODEL) {
    return { value: adapter ? 1e-3 : 5e-4, why: "a very small model takes a large one" }
  }
  const weighed = objective !== "sft" && objective !== "rft"
  if (adapter) {
    return { value: weighed ? 3e-4 : 2e-4, why: "usual for an adapter: 1e-4 to 1e-3" }
  }
  return weighed
    ? { value: 5e-5, why: "the paper's, for all weights" }
    : { value: 1e-5, why: "usual for all weights: 5e-6 to 5e-5" }
}
