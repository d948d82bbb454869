/** `dftune eval MODEL --data FILE`: how probable one model, or two, find the targets of rows. */
import { basename } from "node:path"
import { cells } from "../../evaluate/report.ts"
import {
  type LossDifference,
  lossDifferences,
  type RowLoss,
  rowLosses,
  type SourceLoss,
  sourceLosses,
} from "../../evaluate/row-losses.ts"
import type { Precision } from "../../runtime/index.ts"
import { openScoredModel } from "../../train/scored-model.ts"
import type { DtypeChoice } from "./option-values.ts"
import { print, printJson, progressLine } from "./terminal.ts"

export interface DataLossOptions {
  readonly data: readonly string[]
  readonly against?: string | undefined
  readonly base?: string | undefined
  readonly limit?: number | undefined
  readonly maxLength: number
  readonly template?: string | undefined
  readonly dtype: DtypeChoice
  readonly threads?: number | undefined
  readonly json: boolean
}

interface ModelLosses {
  readonly losses: RowLoss[]
  /** What the model computed in. */
  readonly dtype: Precision
}

async function lossesOf(
  path: string,
  { data, base, limit, maxLength, template, dtype, threads }: DataLossOptions,
  signal: AbortSignal,
): Promise<ModelLosses> {
  const line = progressLine()
  const onProgress = (text: string) => line.show(`${path}: ${text}`)
  const model = await openScoredModel(path, {
    signal,
    onProgress,
    dtype,
    ...(threads === undefined ? {} : { threads }),
    ...(base === undefined ? {} : { base }),
  })
  try {
    const options = { files: data, maxLength, maxRows: limit, template, signal, onProgress }
    return { losses: await rowLosses(model, options), dtype: model.dtype }
  } finally {
    line.clear()
    await model.release()
  }
}

export async function showDataLosses(
  model: string,
  options: DataLossOptions,
  signal: AbortSignal,
): Promise<void> {
  const { losses, dtype } = await lossesOf(model, options, signal)
  const sources = sourceLosses(losses)
  const { against, json } = options
  if (against === undefined) {
    if (json) return printJson({ model, dtype, sources })
    return print(`${lossTable(sources)}\n${computedIn(dtype)}`)
  }
  const other = await lossesOf(against, options, signal)
  const theirs = sourceLosses(other.losses)
  const differences = lossDifferences(other.losses, losses)
  if (json)
    return printJson({
      model,
      dtype,
      sources,
      against: { model: against, dtype: other.dtype, sources: theirs },
      differences,
    })
  print(`${model}\n${lossTable(sources)}\n${computedIn(dtype)}\n`)
  print(`${against}\n${lossTable(theirs)}\n${computedIn(other.dtype)}\n`)
  for (const line of differenceLines(model, against, differences)) print(line)
}

const computedIn = (dtype: Precision) => `computed in ${dtype}`

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
