/** The share of an adapter's effect that is left after a merge into coarser weights. */
import { existsSync } from "node:fs"
import { basename, dirname, resolve } from "node:path"
import { parseConfig } from "../config/parse-config.ts"
import { recordedConfig } from "../config/run-record.ts"
import type { SourceConfig } from "../config/schema.ts"
import { openPrepared, prepareData } from "../data/index.ts"
import type { PrepareOptions } from "../data/prepare.ts"
import { InputError } from "../errors.ts"
import { isObject, readJsonObject } from "../formats/index.ts"
import { ownPlace } from "../host/own-place.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import { isRunFolder, RUN_FILES } from "../run/run-folder.ts"
import { type MicroBatch, stepBatch } from "../train/micro-batches.ts"
import { CROSS_ENTROPY } from "../train/objective-head.ts"
import { rowOptions } from "../train/row-options.ts"
import { openScoredModel, type ScoredModel } from "../train/scored-model.ts"

export interface AdapterEffect {
  /**
   * 1 - rms((l' - l0') - (l - l0)) / rms(l - l0) over the targets' log-probabilities: l with the
   * adapter, l0 without it, l' and l0' of both as written. 1: nothing is lost. What the coarser
   * type does to the base itself is in both l' and l0', and not counted.
   */
  readonly kept: number
  /** Mean NLL of those targets in nats: the base, with the adapter, and as written. */
  readonly nll: { readonly base: number; readonly adapter: number; readonly written: number }
  readonly tokens: number
  readonly rows: number
}

/** Why the effect could not be measured. */
export interface Unmeasured {
  readonly unmeasured: string
}

/** Rows of the run that are asked. */
const ROWS = 16
const PACK_TOKENS = 1024
/** Below this the adapter changes nothing that could be kept. */
const NO_EFFECT = 1e-6

interface EffectOptions {
  /** The exported model: a folder or a GGUF file. */
  readonly written: string
  /** The base alone, written in the same way; undefined where that type holds it exactly. */
  readonly writtenBase: string | undefined
  /** In place of the base that the adapter names. */
  readonly base?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** Compares what was written with the adapter over its base, on the run's own first rows. */
export async function adapterEffect(
  path: string,
  { written, writtenBase, base, signal }: EffectOptions,
): Promise<AdapterEffect | Unmeasured> {
  const rows = await askable(() => runRows(path))
  if ("unmeasured" in rows) return rows
  const stop = signal ? { signal } : {}
  const adapter = await openScoredModel(path, { ...stop, ...(base === undefined ? {} : { base }) })
  const asked = await released(adapter, async () => {
    const batches = await askable(() => firstRows(adapter, rows))
    if ("unmeasured" in batches) return batches
    const apart = await logprobs(adapter, batches, true)
    return { batches, apart, without: await logprobs(adapter, batches, false) }
  })
  if ("unmeasured" in asked) return asked
  const { batches, apart, without } = asked
  const effect = rms(apart.map((value, i) => value - without[i]!))
  if (effect < NO_EFFECT) {
    return { unmeasured: "the adapter changes nothing on the first rows it was trained on" }
  }
  const whole = async (model: string) => {
    const open = await openScoredModel(model, stop)
    return released(open, () => logprobs(open, batches, true))
  }
  const merged = await whole(written)
  const plain = writtenBase === undefined ? without : await whole(writtenBase)
  const lost = rms(apart.map((value, i) => merged[i]! - plain[i]! - (value - without[i]!)))
  return {
    kept: 1 - lost / effect,
    nll: { base: -mean(without), adapter: -mean(apart), written: -mean(merged) },
    tokens: apart.length,
    rows: batches.reduce((sum, batch) => sum + batch.rows.length, 0),
  }
}

/** Rows that cannot be read any more are no reason to fail: the export is there. */
async function askable<T>(find: () => Promise<T>): Promise<T | Unmeasured> {
  try {
    return await find()
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    return { unmeasured: `the run's rows cannot be read: ${error.message}` }
  }
}

async function released<T>(model: ScoredModel, use: () => Promise<T>): Promise<T> {
  try {
    return await use()
  } finally {
    await model.release()
  }
}

/** The run that a path belongs to: itself, or the one whose `model` it is. */
function runOf(path: string): string | undefined {
  if (isRunFolder(path)) return path
  const parent = dirname(resolve(path))
  return basename(resolve(path)) === RUN_FILES.model && isRunFolder(parent) ? parent : undefined
}

/**
 * How the run had its rows read, but for the tokenizer; those of its files that are still there.
 */
async function runRows(path: string): Promise<Omit<PrepareOptions, "tokenizer"> | Unmeasured> {
  const run = runOf(path)
  if (run === undefined) return { unmeasured: "only a run knows the rows it was trained on" }
  const record = ownPlace(run, RUN_FILES.config)
  const { config: recorded } = await readJsonObject(record)
  if (!isObject(recorded)) return { unmeasured: `${record} has no config` }
  const config = parseConfig(recordedConfig(record, { config: recorded }))
  const there = config.data.train.filter((source) => existsSync(source.path))
  if (there.length === 0) {
    const names = config.data.train.map((source) => source.path).join(", ")
    return { unmeasured: `the rows it was trained on are not there (${names})` }
  }
  const first = ({ path, name, split }: SourceConfig): SourceConfig => ({
    path,
    ...(name === undefined ? {} : { name }),
    ...(split === undefined ? {} : { split }),
    weight: 1,
    max_rows: ROWS,
  })
  return {
    ...rowOptions(config, "", there.map(first), objectiveFromConfig(config.objective)),
    onBadRow: "skip",
  }
}

async function firstRows(
  { textFolder }: ScoredModel,
  options: Omit<PrepareOptions, "tokenizer">,
): Promise<readonly MicroBatch[]> {
  const { dir } = await prepareData({ ...options, tokenizer: textFolder })
  const rows = await openPrepared(dir)
  try {
    const some = Array.from({ length: Math.min(ROWS, rows.rows) }, (_, i) =>
      options.purpose === "preference" ? rows.pair(i).chosen : rows.row(i),
    )
    const split = { capacity: PACK_TOKENS, packing: true, normalization: "tokens" as const }
    return stepBatch(some, split).microBatches
  } finally {
    rows.close()
  }
}

async function logprobs(
  { decoder }: ScoredModel,
  batches: readonly MicroBatch[],
  adapter: boolean,
): Promise<Float64Array> {
  const found: number[] = []
  for (const { pack } of batches) {
    const { logp } = await decoder.evaluate(pack, CROSS_ENTROPY, {}, { adapter })
    found.push(...logp)
  }
  return Float64Array.from(found)
}

function rms(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / Math.max(1, values.length))
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)
}
