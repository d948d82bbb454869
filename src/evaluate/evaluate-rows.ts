/**
 * `dftune eval --data`: how probable one model, or two, find the targets of rows; how a reward
 * model ranks pairs.
 */
import { InputError } from "../errors.ts"
import { modelNamed } from "../generate/model-named.ts"
import { checkBounds } from "../generate/sampling-bounds.ts"
import type { Told } from "../host/told.ts"
import type { Precision } from "../runtime/index.ts"
import { openRewardModel, saysScores } from "../train/reward-model.ts"
import { openScoredModel } from "../train/scored-model.ts"
import { pairScores, type SourceScores, sourceScores } from "./pair-scores.ts"
import { type RowLayout, rowLayout } from "./row-layout.ts"
import {
  type LossDifference,
  lossDifferences,
  type RowLoss,
  rowLosses,
  type SourceLoss,
  sourceLosses,
} from "./row-losses.ts"

export interface EvaluateRowsOptions extends Omit<Told, "onWarning"> {
  /** Files of rows. */
  readonly data: readonly string[]
  /** A second model, compared row by row. */
  readonly against?: string | undefined
  /** In place of the base that an adapter names. */
  readonly base?: string | undefined
  /** Only the first rows of each file. */
  readonly limit?: number | undefined
  /** Tokens at which rows are cut; 2048 if left out. */
  readonly maxLength?: number | undefined
  /** In place of the layout of the model's rows. */
  readonly template?: string | undefined
  readonly dtype?: "auto" | Precision | undefined
  readonly threads?: number | undefined
}

/** One model's losses. */
export interface MeasuredRows {
  readonly model: string
  /** What it computed in. */
  readonly dtype: Precision
  readonly sources: readonly SourceLoss[]
}

export interface RowEvaluation extends MeasuredRows {
  readonly measured: "targets"
  readonly against?: MeasuredRows
  readonly differences?: readonly LossDifference[]
}

export interface PairEvaluation {
  readonly measured: "pairs"
  readonly model: string
  readonly dtype: string
  /** How a reward model ranks the pairs of each file. */
  readonly sources: readonly SourceScores[]
}

/**
 * NLL, perplexity, mean p and end-of-turn p of the targets of rows, with intervals; of two models
 * their paired difference. A reward model is measured on preference rows: accuracy and margins.
 *
 * @throws InputError for rows or a model that are missing or wrong
 */
export async function evaluateRows(
  word: string,
  options: EvaluateRowsOptions,
): Promise<RowEvaluation | PairEvaluation> {
  checkBounds(options)
  const { against, onNotice, data } = options
  if (data.length === 0) throw new InputError("data: expected files of rows, got none")
  const model = await modelNamed(word, onNotice)
  const second = against === undefined ? undefined : await modelNamed(against, onNotice)
  // both read the rows as the first model's were: only the same tokens can be compared
  const layout = await rowLayout(model, options)
  if (await saysScores(model)) {
    if (second === undefined) return scoresOf(model, options, layout)
    throw new InputError(
      `--against: ${model} is a reward model; measure each by itself, their scores have no common scale`,
    )
  }
  const { losses, ...measured } = await lossesOf(model, options, layout)
  const own = { measured: "targets", ...measured } as const
  if (second === undefined) return own
  const { losses: theirs, ...other } = await lossesOf(second, options, layout)
  return { ...own, against: other, differences: lossDifferences(theirs, losses) }
}

/** How a model is opened, and which rows it reads. */
function parts(path: string, options: EvaluateRowsOptions, layout: RowLayout) {
  const { data, base, limit, maxLength = 2048, dtype = "auto", threads } = options
  const { signal, onProgress } = options
  const told = {
    ...(signal ? { signal } : {}),
    onProgress: (text: string) => onProgress?.(`${path}: ${text}`),
  }
  return {
    opened: {
      ...told,
      dtype,
      ...(threads === undefined ? {} : { threads }),
      ...(base === undefined ? {} : { base }),
    },
    rows: { ...told, files: data, maxLength, maxRows: limit, ...layout },
  }
}

async function lossesOf(
  path: string,
  options: EvaluateRowsOptions,
  layout: RowLayout,
): Promise<MeasuredRows & { readonly losses: readonly RowLoss[] }> {
  const { opened, rows } = parts(path, options, layout)
  const model = await openScoredModel(path, opened)
  try {
    const losses = await rowLosses(model, rows)
    return { model: path, dtype: model.dtype, sources: sourceLosses(losses), losses }
  } finally {
    await model.release()
  }
}

async function scoresOf(
  path: string,
  options: EvaluateRowsOptions,
  layout: RowLayout,
): Promise<PairEvaluation> {
  const { opened, rows } = parts(path, options, layout)
  const model = await openRewardModel(path, opened)
  try {
    const sources = sourceScores(await pairScores(model, rows))
    return { measured: "pairs", model: path, dtype: model.dtype, sources }
  } finally {
    await model.release()
  }
}
