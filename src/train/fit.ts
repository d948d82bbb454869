/**
 * What training a model would take on this machine, from its config and the headers of its files.
 */
import { existsSync } from "node:fs"
import { freemem, tmpdir } from "node:os"
import type { Config } from "../config/index.ts"
import { parseConfig } from "../config/index.ts"
import type { RunOrder } from "../data/order.ts"
import type { Prepared, PreparedRow } from "../data/prepared.ts"
import { assert } from "../errors.ts"
import { remoteModel, remoteModelFile } from "../hub/hub.ts"
import {
  findModel,
  ggufHeaders,
  ggufOnHub,
  type ModelHeaders,
  modelHeaders,
  modelHeadersIn,
} from "../models/files/index.ts"
import { resolvedPrecision } from "../models/files/precision.ts"
import { type ModelConfig, weightCount } from "../models/index.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import { supervisedBatches } from "./batches.ts"
import { localPlan } from "./local-plan.ts"
import type { MemoryPlan } from "./memory-plan.ts"
import { type MiniatureOptions, miniatureEstimate } from "./miniature.ts"
import { adapterSpec } from "./model-settings.ts"
import type { RunPlan } from "./plan.ts"

/** What a process that trains holds before it reads a weight: Node, this program, a tokenizer. */
const PROCESS_BYTES = 205e6
/** Steps of rows that are made up. */
const STEPS = 4

export type FitWayName = "full" | "lora" | "int4"

/** One way to train the model. */
export interface FitWay {
  readonly name: FitWayName
  /** Of the process at its peak; null where the model cannot be trained so. */
  readonly memory_bytes: number | null
  /** Where it goes. */
  readonly memory: Omit<MemoryPlan, "keep"> | null
  /** Whether that is there now. */
  readonly fits: boolean
  /** null where it does not fit, or cannot be. */
  readonly seconds_per_step: number | null
  readonly tokens_per_second: number | null
  /** Why it cannot be. */
  readonly why?: string
}

export interface Fit {
  readonly model: string
  readonly model_type: string
  readonly parameters: number
  readonly layers: number
  /** Of the weights, as they are stored. */
  readonly stored_bytes: number
  readonly free_bytes: number
  readonly batch_size: number
  /** Of a row; all but the first are trained. */
  readonly row_tokens: number
  readonly dtype: "bf16" | "fp32"
  readonly ways: readonly FitWay[]
  readonly notes: readonly string[]
}

export interface FitOptions extends MiniatureOptions {
  /** false: memory alone. */
  readonly timed?: boolean
  readonly onProgress?: (message: string) => void
}

/** Reads a config and headers; of a hub id by ranges, so that nothing is downloaded. */
async function headersOf({ model, model_revision }: Config, signal?: AbortSignal) {
  const hub = { revision: model_revision, ...(signal ? { signal } : {}) }
  const file = ggufOnHub(model)
  if (file) return ggufHeaders(await remoteModelFile(file, hub))
  // A file or a folder, or what is neither: findModel says so.
  const isHere = existsSync(model) || model.split("/").length > 2
  return isHere
    ? modelHeaders(await findModel(model, hub))
    : modelHeadersIn(await remoteModel(model, hub))
}

/**
 * Memory and time of full fine-tuning, of an adapter, and of one over a base in 4 bits, on the
 * local engine. Steps are of `batch_size` rows of `data.max_length` tokens, all trained. Time is
 * measured on a few layers with made-up weights.
 *
 * @throws InputError for a model that is not there or cannot be trained
 */
export async function fit(
  config: Config,
  { timed = true, signal, onProgress, ...options }: FitOptions = {},
): Promise<Fit> {
  onProgress?.(`${config.model}: reading its config and the headers of its files`)
  const headers = await headersOf(config, signal)
  const { config: model, storedBytes } = headers
  const { shape } = model
  const given = config.engine.name === "onnx" ? config.engine : DEFAULTS.engine
  const dtype = resolvedPrecision(given, shape)
  const engine = { ...given, dtype }
  const free = freemem() + process.memoryUsage.rss()
  const ways: FitWay[] = []
  for (const name of ["full", "lora", "int4"] as const) {
    signal?.throwIfAborted()
    if (name === "full" && model.quantization) {
      const why = "a quantised checkpoint is a frozen base"
      ways.push({ ...NOTHING, name, why })
      continue
    }
    const plan = plannedWay(name, config, model, engine)
    const { keep: _, ...memory } = plan.memory
    const fits = memory.total <= free
    const way = { name, memory_bytes: memory.total, memory, fits }
    if (!timed || !fits) {
      ways.push({ ...NOTHING, ...way })
      continue
    }
    onProgress?.(`${config.model}: timing a few layers (${name})`)
    const { seconds_per_step, tokens_per_second } = await miniatureEstimate(plan, {
      ...options,
      ...(signal ? { signal } : {}),
    })
    ways.push({ ...way, seconds_per_step, tokens_per_second })
  }
  return {
    model: config.model,
    model_type: model.modelType,
    parameters: weightCount(shape),
    layers: shape.numHiddenLayers,
    stored_bytes: storedBytes,
    free_bytes: free,
    batch_size: config.batch_size,
    row_tokens: rowTokens(config, model),
    dtype,
    ways,
    notes: notesOf(headers, config),
  }
}

const NOTHING = {
  memory_bytes: null,
  memory: null,
  fits: false,
  seconds_per_step: null,
  tokens_per_second: null,
} as const

const DEFAULTS = (() => {
  const config = parseConfig({ model: "m", data: { train: "rows.jsonl" }, adapter: "lora" })
  const { engine, adapter } = config
  assert(engine.name === "onnx" && adapter !== null, "fit: the defaults have changed")
  return { engine, adapter }
})()

const rowTokens = ({ data }: Config, { shape }: ModelConfig): number =>
  Math.min(data.max_length, shape.maxPositionEmbeddings)

function notesOf({ hasHeadBeside, config: { shape } }: ModelHeaders, config: Config): string[] {
  const head = 16 * shape.vocabSize * shape.hiddenSize
  return [
    ...(hasHeadBeside
      ? [
          `the files hold an output head beside the embedding that the config ties it to; if its numbers are others, full fine-tuning takes ${(head / 1e9).toFixed(1)} GB more`,
        ]
      : []),
    ...(isOfTargets(config)
      ? []
      : ["this is for rows of targets (objective: sft); pairs and samples take more"]),
    ...(config.engine.name === "torch"
      ? ["this is the local engine; engine: torch plans for its own machine"]
      : []),
  ]
}

const isOfTargets = ({ objective, rollout }: Config): boolean =>
  rollout === null && objectiveFromConfig(objective).trainsOn === "targets"

/** A run of made-up rows, trained in one of the ways. */
function plannedWay(
  name: FitWayName,
  given: Config,
  model: ModelConfig,
  engine: RunPlan["engine"],
): RunPlan {
  const config: Config = {
    ...given,
    engine,
    adapter: name === "full" ? null : (given.adapter ?? DEFAULTS.adapter),
    quantization: name === "int4" ? "int4" : "none",
    generate_samples: null,
    rollout: null,
    eval_steps: 0,
    save_steps: 0,
    device_memory: "auto",
    output_dir: tmpdir(),
  }
  const objective = objectiveFromConfig(isOfTargets(config) ? config.objective : "sft")
  const lora = config.adapter ? adapterSpec(config.adapter, model, config.model_tokens) : undefined
  const rows = madeUpRows(STEPS * config.batch_size, rowTokens(config, model), model)
  const order = inOrder(config.batch_size)
  const known = { config, model, objective, lora, lengths: rows.lengths }
  return {
    ...{ config, model, objective, lora, rows, order, evalSets: [], lints: [], dataKey: "" },
    modelFolder: "",
    prepared: { dir: "", manifest: rows.manifest, lints: [], fromCache: true },
    batches: supervisedBatches(rows, order),
    ...localPlan({ ...known, engine, held: PROCESS_BYTES }),
  }
}

const inOrder = (batchSize: number): RunOrder => ({
  steps: STEPS,
  rowsPerEpoch: STEPS * batchSize,
  rows: STEPS * batchSize,
  stepRows: (step) => Int32Array.from({ length: batchSize }, (_, i) => step * batchSize + i),
  epochAt: (step) => step / STEPS,
})

/** Rows of one length whose tokens mean nothing. */
function madeUpRows(count: number, tokens: number, { shape }: ModelConfig): Prepared {
  const row = (index: number): PreparedRow => ({
    tokenIds: Int32Array.from(
      { length: tokens },
      (_, t) => (Math.imul(index * tokens + t + 1, 2654435761) >>> 0) % shape.vocabSize,
    ),
    lossMask: new Uint8Array(tokens).fill(1, 1),
    tokenClass: new Uint8Array(tokens),
    source: "",
    line: index + 1,
    weight: 1,
    value: 0,
  })
  return {
    dir: "",
    manifest: {} as Prepared["manifest"], // only rows are read of it
    rows: count,
    lengths: new Int32Array(count).fill(tokens),
    sequences: (index) => [row(index)],
    sequenceLengths: () => [tokens],
    row,
    pair: () => {
      throw new Error("made-up rows are no pairs")
    },
    place: (index) => `row ${index + 1}`,
    close: () => {},
  }
}
