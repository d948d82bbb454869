/** The share of an adapter's effect that is left after a merge into low-precision weights. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { openPrepared, prepareData } from "../data/index.ts"
import { openScoredModel, type ScoredModel } from "../evaluate/scored-model.ts"
import { isObject, type JsonObject, readJsonObject } from "../formats/index.ts"
import { isRunFolder, RUN_FILES } from "../run/run-folder.ts"
import { type MicroBatch, stepBatch } from "../train/micro-batches.ts"
import { CROSS_ENTROPY } from "../train/objective-head.ts"

export interface AdapterEffect {
  /**
   * 1 - rms(l' - l) / rms(l - l0) over the targets' log-probabilities: l with the adapter, l0 without
   * it, l' of what was written. 1: nothing is lost.
   */
  readonly kept: number
  readonly tokens: number
  readonly rows: number
}

/** Rows of the run that are asked. */
const ROWS = 16
const PACK_TOKENS = 1024
/** Below this the adapter changes nothing that could be kept. */
const NO_EFFECT = 1e-6

interface EffectOptions {
  readonly base?: string
  readonly signal?: AbortSignal
}

/**
 * Compares the written folder with the adapter over its base, on the run's own first rows.
 * undefined where the run's rows are not there, or the adapter does nothing to them.
 */
export async function adapterEffect(
  run: string,
  written: string,
  { base, signal }: EffectOptions = {},
): Promise<AdapterEffect | undefined> {
  const data = await runData(run)
  if (data === undefined) return undefined
  const stop = signal ? { signal } : {}
  const adapter = await openScoredModel(run, { ...stop, ...(base === undefined ? {} : { base }) })
  let batches: readonly MicroBatch[]
  let apart: Float64Array
  let without: Float64Array
  try {
    batches = await firstRows(adapter, data)
    apart = await logprobs(adapter, batches, { adapter: true })
    without = await logprobs(adapter, batches, { adapter: false })
  } finally {
    await adapter.release()
  }
  const merged = await openScoredModel(written, stop)
  try {
    const folded = await logprobs(merged, batches, { adapter: true })
    const effect = rms(apart, without)
    if (effect < NO_EFFECT) return undefined
    const rows = batches.reduce((sum, batch) => sum + batch.rows.length, 0)
    return { kept: 1 - rms(folded, apart) / effect, tokens: apart.length, rows }
  } finally {
    await merged.release()
  }
}

/** What the run's record says of its rows, where those that are files are still there. */
async function runData(run: string): Promise<JsonObject | undefined> {
  const record = join(run, RUN_FILES.config)
  if (!isRunFolder(run) || !existsSync(record)) return undefined
  const { config } = await readJsonObject(record)
  if (!isObject(config) || !isObject(config.data)) return undefined
  const { train } = config.data
  if (!Array.isArray(train)) return undefined
  const there = train.filter((source) => isObject(source) && existsSync(String(source.path)))
  return there.length === 0 ? undefined : { ...config.data, train: there }
}

async function firstRows(
  { textFolder }: ScoredModel,
  { train, template, max_length: maxLength, columns }: JsonObject,
): Promise<readonly MicroBatch[]> {
  const sources = (train as { path: string }[]).map(({ path }) => ({
    path,
    weight: 1,
    max_rows: ROWS,
  }))
  const { dir } = await prepareData({
    sources,
    tokenizer: textFolder,
    template: (template ?? "none") as string,
    maxLength: Number(maxLength),
    ...(isObject(columns) ? { columns: columns as Record<string, string | null> } : {}),
    onBadRow: "skip",
  })
  const rows = await openPrepared(dir)
  try {
    const some = Array.from({ length: Math.min(ROWS, rows.rows) }, (_, i) => rows.row(i))
    const split = { capacity: PACK_TOKENS, packing: true, normalization: "tokens" as const }
    return stepBatch(some, split).microBatches
  } finally {
    rows.close()
  }
}

async function logprobs(
  { decoder }: ScoredModel,
  batches: readonly MicroBatch[],
  options: { readonly adapter: boolean },
): Promise<Float64Array> {
  const found: number[] = []
  for (const { pack } of batches) {
    const { logp } = await decoder.evaluate(pack, CROSS_ENTROPY, {}, options)
    found.push(...logp)
  }
  return Float64Array.from(found)
}

function rms(a: Float64Array, b: Float64Array): number {
  const squares = a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0)
  return Math.sqrt(squares / Math.max(1, a.length))
}
