/** `dftune eval MODEL --data FILE` for people. */
import { basename } from "node:path"
import type { PairEvaluation, RowEvaluation } from "../../evaluate/evaluate-rows.ts"
import type { SourceScores } from "../../evaluate/pair-scores.ts"
import { cells } from "../../evaluate/report.ts"
import type { LossDifference, SourceLoss } from "../../evaluate/row-losses.ts"

const computedIn = (dtype: string) => `computed in ${dtype}`

/** How probable one model, or two, find the targets. */
export function lossText({ model, dtype, sources, against, differences = [] }: RowEvaluation) {
  const own = `${lossTable(sources)}\n${computedIn(dtype)}`
  if (against === undefined) return own
  return [
    `${model}\n${own}\n`,
    `${against.model}\n${lossTable(against.sources)}\n${computedIn(against.dtype)}\n`,
    ...differenceLines(model, against.model, differences),
  ].join("\n")
}

/** How a reward model ranks pairs. */
export function pairText({ dtype, sources }: PairEvaluation): string {
  return `${scoreTable(sources)}\n${computedIn(dtype)}`
}

function lossTable(sources: readonly SourceLoss[]): string {
  const interval = ([low, high]: readonly [number, number]) =>
    `${low.toFixed(3)}-${high.toFixed(3)}`
  const rows = [
    ["rows of", "rows", "tokens", "nll", "95 %", "perplexity", "mean p", "end-of-turn p"],
    ...sources.map((each) => [
      basename(each.source),
      String(each.rows),
      String(each.tokens),
      each.nll.toFixed(4),
      interval(each.nll_ci95),
      each.perplexity.toPrecision(4),
      each.mean_p.toFixed(3),
      each.eos_p === null ? "-" : each.eos_p.toPrecision(3),
    ]),
  ]
  return cells(rows)
}

function differenceLines(
  model: string,
  against: string,
  differences: readonly LossDifference[],
): string[] {
  return differences.map(({ source, rows, difference, ci95, exceeds_noise }) => {
    if (rows === 0)
      return `${basename(source)}: the two cut these rows into other tokens: not compared`
    const [low, high] = ci95.map((value) => value.toFixed(4))
    const found = exceeds_noise
      ? `${difference < 0 ? model : against} finds these rows likelier`
      : "no difference beyond noise"
    return `${basename(source)}: nll ${difference >= 0 ? "+" : ""}${difference.toFixed(4)} [${low}, ${high}] of ${model} beside ${against}, ${rows} rows: ${found}`
  })
}

function scoreTable(sources: readonly SourceScores[]): string {
  const interval = ([low, high]: readonly [number, number]) =>
    `${low.toFixed(3)} to ${high.toFixed(3)}`
  return cells([
    ["pairs of", "pairs", "accuracy", "95 %", "margin", "95 %", "chosen", "rejected", "nll"],
    ...sources.map((each) => [
      basename(each.source),
      String(each.pairs),
      each.reward_accuracy.toFixed(3),
      interval(each.reward_accuracy_ci95),
      each.reward_margin.toFixed(3),
      interval(each.reward_margin_ci95),
      each.reward_chosen.toFixed(3),
      each.reward_rejected.toFixed(3),
      each.nll.toFixed(4),
    ]),
  ])
}
