/** `dftune eval REWARD_MODEL --data PAIRS`: how it ranks them. */
import { basename } from "node:path"
import { InputError } from "../../errors.ts"
import { pairScores, type SourceScores, sourceScores } from "../../evaluate/pair-scores.ts"
import { cells } from "../../evaluate/report.ts"
import { openRewardModel } from "../../train/reward-model.ts"
import type { DataLossOptions } from "./data-losses.ts"
import { print, printJson, progressLine } from "./terminal.ts"

export async function showPairScores(
  path: string,
  options: DataLossOptions,
  signal: AbortSignal,
): Promise<void> {
  const { data, base, limit, maxLength, template, dtype, threads, against, json } = options
  if (against !== undefined) {
    throw new InputError(
      `--against: ${path} is a reward model; measure each by itself, their scores have no common scale`,
    )
  }
  const line = progressLine()
  const onProgress = (text: string) => line.show(`${path}: ${text}`)
  const model = await openRewardModel(path, {
    ...{ signal, onProgress, dtype },
    ...(threads === undefined ? {} : { threads }),
    ...(base === undefined ? {} : { base }),
  })
  try {
    const asked = { files: data, maxLength, maxRows: limit, template, signal, onProgress }
    const sources = sourceScores(await pairScores(model, asked))
    line.clear()
    if (json) return printJson({ model: path, dtype: model.dtype, sources })
    print(`${scoreTable(sources)}\ncomputed in ${model.dtype}`)
  } finally {
    line.clear()
    await model.release()
  }
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
