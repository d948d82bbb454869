/**
 * What a run's model makes of single tokens at its checkpoints: computed when asked for, and kept.
 */
import { createHash } from "node:crypto"
import { existsSync, statSync } from "node:fs"
import { basename, join } from "node:path"
import { type InspectedToken, inspectTokens } from "../evaluate/token-inspection.ts"
import { makeFolder, replaceFileNow } from "../formats/atomic.ts"
import { isObject } from "../formats/json.ts"
import { jsonOfFile } from "../formats/plain-file.ts"
import { ownPlace } from "../host/own-place.ts"
import { findModel } from "../models/files/index.ts"
import {
  type KnownColumns,
  needs,
  type Objective,
  tokenWeights,
  weightOf,
} from "../objectives/index.ts"
import { PAGE_FILES, RUN_FILES } from "../run/run-files.ts"
import { checkpointPath } from "../run/run-place.ts"
import {
  openScoredModel,
  type ScoredModel,
  type ScoredModelOptions,
} from "../train/scored-model.ts"
import { refusal } from "./refusal.ts"
import type { LookedRow, LookedRun } from "./run-rows.ts"

/** Models that stay in memory when nobody asks them. */
const KEPT_MODELS = 2
/** Of the kept files; others are computed anew. */
const VERSION = 1

/** `base`, `result`, or the step of a checkpoint. */
export type Moment = "base" | "result" | number

export interface MicroscopeOptions {
  readonly readOnly: boolean
  readonly threads?: ScoredModelOptions["threads"]
}

export class Microscope {
  readonly #options: MicroscopeOptions
  /** By folder and when its weights were written; the least recently used first. */
  readonly #open = new Map<string, Promise<ScoredModel>>()
  /** One after the other: a decoder has one set of buffers. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: MicroscopeOptions) {
    this.#options = options
  }

  /** Every token after the first, as the model is at a moment of the run. */
  inspect(looked: LookedRun, row: LookedRow, moment: Moment): Promise<InspectedToken[]> {
    return this.#next(async () => {
      const file = keptPath(looked.run.path, row.tokenIds, moment)
      const folder = await folderAt(looked, moment)
      const written = folder === undefined ? undefined : statSync(folder).mtimeMs
      const kept = readKept(file, written)
      if (kept) return kept
      if (folder === undefined) throw refusal(404, `the run has no checkpoint of step ${moment}`)
      const tokens = await inspectTokens(await this.#model(folder), row.tokenIds)
      if (!this.#options.readOnly) {
        makeFolder(ownPlace(looked.run.path, PAGE_FILES.folder, PAGE_FILES.tokens))
        replaceFileNow(file, JSON.stringify({ version: VERSION, written, tokens }))
      }
      return tokens
    })
  }

  async close(): Promise<void> {
    await this.#turn
    for (const model of this.#open.values()) await (await model).release()
    this.#open.clear()
  }

  #next<Result>(body: () => Promise<Result>): Promise<Result> {
    const turn = this.#turn.then(body)
    this.#turn = turn.catch(() => {}) // told to whoever awaits it
    return turn
  }

  async #model(folder: string): Promise<ScoredModel> {
    const key = `${folder} ${statSync(folder).mtimeMs}`
    const { threads } = this.#options
    const model = this.#open.get(key) ?? openScoredModel(folder, threads ? { threads } : {})
    this.#open.delete(key)
    this.#open.set(key, model)
    model.catch(() => this.#open.delete(key))
    await model
    const gone = [...this.#open].slice(0, Math.max(0, this.#open.size - KEPT_MODELS))
    for (const [old, one] of gone) {
      this.#open.delete(old)
      await (await one).release()
    }
    return model
  }
}

/** Where the model of a moment lies; undefined for a checkpoint that has been removed. */
async function folderAt({ run, config }: LookedRun, moment: Moment): Promise<string | undefined> {
  if (moment === "base") return findModel(config.model, { revision: config.model_revision })
  const folder =
    moment === "result" ? join(run.path, RUN_FILES.model) : checkpointPath(run.path, moment)
  if (!existsSync(folder)) return undefined
  const hasModel = ["config.json", "adapter_config.json"].some((name) =>
    existsSync(join(folder, name)),
  )
  if (hasModel) return folder
  throw refusal(
    409,
    `${basename(folder)} holds no model in Hugging Face's layout (a checkpoint of engine torch is sharded): the run's result does`,
  )
}

function keptPath(run: string, tokenIds: readonly number[], moment: Moment): string {
  const hash = createHash("sha256").update(JSON.stringify(tokenIds)).digest("hex").slice(0, 32)
  return join(run, PAGE_FILES.folder, PAGE_FILES.tokens, `${hash}-${moment}.json`)
}

/** What was computed of the same weights, or of a checkpoint that is there no more. */
function readKept(path: string, written: number | undefined): InspectedToken[] | undefined {
  const kept = jsonOfFile(path)
  if (!isObject(kept) || kept.version !== VERSION || !Array.isArray(kept.tokens)) return undefined
  if (written !== undefined && kept.written !== written) return undefined
  return kept.tokens.every(isInspected) ? kept.tokens : undefined
}

const isInspected = (value: unknown): value is InspectedToken =>
  isObject(value) &&
  [value.logp, value.rank, value.entropy, value.topkEntropy].every(
    (one) => typeof one === "number",
  ) &&
  Array.isArray(value.alternatives) &&
  value.alternatives.every(
    (one) => isObject(one) && typeof one.tokenId === "number" && typeof one.logp === "number",
  )

/**
 * Whether the objective compares with the base, so that its weights need the base's probabilities.
 */
export const comparesWithBase = ({ expression }: Pick<Objective, "expression">): boolean =>
  needs(weightOf(expression)).inputs.has("ref_logp")

/**
 * The weight that the objective gives each supervised token after the first; null where it gives
 * none, or where weights depend on what a single row does not say.
 */
export function weightsOfRow(
  objective: Objective,
  row: LookedRow,
  tokens: readonly InspectedToken[],
  {
    step,
    steps,
    base,
  }: {
    readonly step: number
    readonly steps: number
    readonly base: readonly InspectedToken[] | undefined
  },
): (number | null)[] | undefined {
  const at = tokens.map((_, i) => i).filter((i) => row.lossMask[i + 1] === 1)
  const column = (value: (i: number) => number) => Float64Array.from(at, value)
  const columns: KnownColumns = {
    logp: column((i) => tokens[i]!.logp),
    entropy: column((i) => tokens[i]!.entropy),
    topk_entropy: column((i) => tokens[i]!.topkEntropy),
    token_class: column((i) => row.tokenClass[i + 1]!),
    position: Float64Array.from(at, (_, place) => place),
    progress: steps === 0 ? 0 : step / steps,
    step,
    steps,
    ...(base ? { ref_logp: column((i) => base[i]!.logp) } : {}),
  }
  const weights = tokenWeights(objective, columns, at.length)
  if (!weights) return undefined
  const found: (number | null)[] = tokens.map(() => null)
  for (const [k, i] of at.entries()) found[i] = weights[k]!
  return found
}
