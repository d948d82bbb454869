/** How probable a model finds the targets of rows: NLL, perplexity, p, and how surely it ends. */
import { type Columns, openPrepared, prepareData } from "../data/index.ts"
import { InputError } from "../errors.ts"
import { progressMeter } from "../report/progress.ts"
import { stepBatch } from "../train/micro-batches.ts"
import { CROSS_ENTROPY } from "../train/objective-head.ts"
import type { ScoredModel } from "../train/scored-model.ts"
import { END_OF_TURN } from "../train/token-statistics.ts"
import { type Interval, ratioInterval } from "./statistics.ts"

/** Sums over a row's supervised tokens. */
export interface RowLoss {
  /** `file:line` */
  readonly row: string
  readonly source: string
  readonly tokens: number
  /** Nats. */
  readonly nll: number
  readonly p: number
  readonly ends: number
  readonly endP: number
  /** Of nll, what the ends of turns have, nats. */
  readonly endNll: number
}

export interface SourceLoss {
  readonly source: string
  readonly rows: number
  readonly tokens: number
  /** Mean over tokens, nats, with a 95 % interval over rows. */
  readonly nll: number
  readonly nll_ci95: Interval
  readonly perplexity: number
  readonly mean_p: number
  readonly mean_p_ci95: Interval
  /** Mean probability of the end-of-turn targets; null where there are none. */
  readonly eos_p: number | null
}

export interface LossDifference {
  readonly source: string
  readonly rows: number
  /** NLL of the second minus the first, a token; negative: the second finds the rows likelier. */
  readonly difference: number
  readonly ci95: Interval
  readonly exceeds_noise: boolean
}

export interface RowLossOptions {
  readonly files: readonly string[]
  readonly maxLength: number
  readonly maxRows?: number | undefined
  /** As `data.template`; auto if left out. */
  readonly template?: string | boolean | undefined
  /** As `data.columns`. */
  readonly columns?: Columns | undefined
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
}

/** Rows read, and tokens computed, at once. */
const ROWS = 64
const PACK_TOKENS = 1024

/**
 * The loss of each row under the model, rendered as training would.
 *
 * @throws InputError as preparing rows does
 */
export async function rowLosses(
  { decoder, textFolder }: ScoredModel,
  { files, maxLength, maxRows, template = "auto", columns: named = {}, ...told }: RowLossOptions,
): Promise<RowLoss[]> {
  const { signal, onProgress } = told
  const preparing = progressMeter("preparing rows", { unit: "rows" })
  const { dir } = await prepareData({
    sources: files.map((path) => ({ path, weight: 1, ...(maxRows ? { max_rows: maxRows } : {}) })),
    tokenizer: textFolder,
    template,
    columns: named,
    maxLength,
    ...(signal ? { signal } : {}),
    onProgress: ({ rows, fraction }) =>
      onProgress?.(preparing(rows, fraction > 0 ? Math.round(rows / fraction) : 0)),
  })
  const rows = await openPrepared(dir)
  const found: RowLoss[] = []
  const meter = progressMeter("measuring", { unit: "rows" })
  try {
    for (let at = 0; at < rows.rows; at += ROWS) {
      const some = Array.from({ length: Math.min(ROWS, rows.rows - at) }, (_, i) =>
        rows.row(at + i),
      )
      const { microBatches } = stepBatch(some, {
        capacity: PACK_TOKENS,
        packing: true,
        normalization: "tokens",
      })
      const sums = some.map(() => ({ tokens: 0, nll: 0, p: 0, ends: 0, endP: 0, endNll: 0 }))
      for (const { pack, columns, sequences } of microBatches) {
        signal?.throwIfAborted()
        const { logp } = await decoder.evaluate(pack, CROSS_ENTROPY)
        for (const [i, value] of logp.entries()) {
          const sum = sums[sequences[i]!]!
          const p = Math.exp(value)
          sum.tokens += 1
          sum.nll -= value
          sum.p += p
          if (columns.token_class[i] !== END_OF_TURN) continue
          sum.ends += 1
          sum.endP += p
          sum.endNll -= value
        }
      }
      for (const [i, { source, line }] of some.entries()) {
        found.push({ row: `${source}:${line}`, source, ...sums[i]! })
      }
      onProgress?.(meter(found.length, rows.rows))
    }
  } finally {
    rows.close()
  }
  if (found.length === 0) throw new InputError(`${files.join(", ")}: no rows to measure`)
  return found
}

function bySource(losses: readonly RowLoss[]): Map<string, RowLoss[]> {
  const found = new Map<string, RowLoss[]>()
  for (const loss of losses) found.set(loss.source, [...(found.get(loss.source) ?? []), loss])
  if (found.size > 1) found.set("all", [...losses])
  return found
}

const total = (rows: readonly RowLoss[], key: "tokens" | "nll" | "p" | "ends" | "endP") =>
  rows.reduce((sum, row) => sum + row[key], 0)

/** One line a source, and one for all where there are several. */
export function sourceLosses(losses: readonly RowLoss[]): SourceLoss[] {
  return [...bySource(losses)].map(([source, rows]) => {
    const tokens = total(rows, "tokens")
    const nll = total(rows, "nll") / tokens
    const ends = total(rows, "ends")
    const ratio = (key: "nll" | "p") =>
      ratioInterval(rows.map((row) => ({ sum: row[key], count: row.tokens })))
    return {
      source,
      rows: rows.length,
      tokens,
      nll,
      nll_ci95: ratio("nll"),
      perplexity: Math.exp(nll),
      mean_p: total(rows, "p") / tokens,
      mean_p_ci95: ratio("p"),
      eos_p: ends === 0 ? null : total(rows, "endP") / ends,
    }
  })
}

/** The second model beside the first, row by row: what both have of the same tokens. */
export function lossDifferences(
  first: readonly RowLoss[],
  second: readonly RowLoss[],
): LossDifference[] {
  const others = new Map(second.map((loss) => [loss.row, loss]))
  return [...bySource(first)].map(([source, rows]) => {
    const paired = rows.flatMap((row) => {
      const other = others.get(row.row)
      // another tokenizer cuts rows otherwise: nats a token are then not the same measure
      return other?.tokens === row.tokens ? [{ sum: other.nll - row.nll, count: row.tokens }] : []
    })
    const tokens = paired.reduce((sum, { count }) => sum + count, 0)
    const difference = paired.reduce((sum, row) => sum + row.sum, 0) / tokens
    const ci95 = ratioInterval(paired)
    const exceeds = ci95[0] > 0 || ci95[1] < 0
    return { source, rows: paired.length, difference, ci95, exceeds_noise: exceeds }
  })
}
