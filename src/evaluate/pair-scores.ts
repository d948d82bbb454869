/** How a reward model ranks pairs: accuracy, margins and scores. */
import { openPrepared, prepareData } from "../data/index.ts"
import { InputError } from "../errors.ts"
import type { RewardModel } from "../train/reward-model.ts"
import type { RowLossOptions } from "./row-losses.ts"
import { type Interval, ratioInterval } from "./statistics.ts"

export interface PairScore {
  /** `file:line` */
  readonly row: string
  readonly source: string
  readonly chosen: number
  readonly rejected: number
}

export interface SourceScores {
  readonly source: string
  readonly pairs: number
  /** Share of the pairs whose chosen side has the higher score, strictly. */
  readonly reward_accuracy: number
  readonly reward_accuracy_ci95: Interval
  readonly reward_margin: number
  readonly reward_margin_ci95: Interval
  readonly reward_chosen: number
  readonly reward_rejected: number
  /** Of the verdicts: mean of -ln sigmoid(margin), nats. */
  readonly nll: number
}

/** Pairs read, and scored, at once. */
const PAIRS = 64

/**
 * Both scores of each pair, rendered as training would.
 *
 * @throws InputError as preparing rows does
 */
export async function pairScores(
  model: RewardModel,
  {
    files,
    maxLength,
    maxRows,
    template = "auto",
    columns = {},
    signal,
    onProgress,
  }: RowLossOptions,
): Promise<PairScore[]> {
  const { dir } = await prepareData({
    sources: files.map((path) => ({ path, weight: 1, ...(maxRows ? { max_rows: maxRows } : {}) })),
    purpose: "scores",
    tokenizer: model.textFolder,
    template,
    columns,
    maxLength,
    ...(signal ? { signal } : {}),
  })
  const rows = await openPrepared(dir)
  const found: PairScore[] = []
  try {
    for (let at = 0; at < rows.rows; at += PAIRS) {
      const some = Array.from({ length: Math.min(PAIRS, rows.rows - at) }, (_, i) =>
        rows.pair(at + i),
      )
      const texts = some.flatMap(({ chosen, rejected }) => [chosen.tokenIds, rejected.tokenIds])
      const scores = await model.score(texts, signal)
      for (const [i, { chosen }] of some.entries()) {
        const { source, line } = chosen
        const both = { chosen: scores[2 * i]!, rejected: scores[2 * i + 1]! }
        found.push({ row: `${source}:${line}`, source, ...both })
      }
      onProgress?.(`${found.length}/${rows.rows} pairs`)
    }
  } finally {
    rows.close()
  }
  if (found.length === 0) throw new InputError(`${files.join(", ")}: no pairs to score`)
  return found
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

/** One line a source, and one for all where there are several. */
export function sourceScores(scores: readonly PairScore[]): SourceScores[] {
  const bySource = new Map<string, PairScore[]>()
  for (const one of scores) bySource.set(one.source, [...(bySource.get(one.source) ?? []), one])
  if (bySource.size > 1) bySource.set("all", [...scores])
  return [...bySource].map(([source, pairs]) => {
    const margins = pairs.map(({ chosen, rejected }) => chosen - rejected)
    const right = margins.map((margin) => Number(margin > 0))
    const interval = (values: readonly number[]) =>
      ratioInterval(values.map((sum) => ({ sum, count: 1 })))
    return {
      source,
      pairs: pairs.length,
      reward_accuracy: mean(right),
      reward_accuracy_ci95: interval(right),
      reward_margin: mean(margins),
      reward_margin_ci95: interval(margins),
      reward_chosen: mean(pairs.map(({ chosen }) => chosen)),
      reward_rejected: mean(pairs.map(({ rejected }) => rejected)),
      nll: mean(margins.map((x) => Math.max(-x, 0) + Math.log1p(Math.exp(-Math.abs(x))))),
    }
  })
}
