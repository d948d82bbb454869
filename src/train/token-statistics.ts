/**
 * From per-token numbers to the fields of `step`, `eval` and `histogram` events; sums, so that
 * parts add up.
 */
import type { TokenOutputs } from "../models/index.ts"
import type { HistogramEvent, StepEvent } from "../run/events.ts"

/** Token classes of prepared data (docs/architecture.md, seam 1). */
export const TOKEN_CLASSES = ["content", "end of turn", "special"] as const
export const END_OF_TURN = 1
const SPECIAL = 2

/** The supervised tokens of one micro-batch, N numbers each. */
export interface TokenNumbers {
  /** Log-probability of the target, nats. */
  readonly logp: ArrayLike<number>
  /** The objective's value. */
  readonly loss: ArrayLike<number>
  /** The weight of the token's NLL: -d loss / d logp. */
  readonly weight: ArrayLike<number>
  /** 0 content, 1 end of turn, 2 special. */
  readonly tokenClass: ArrayLike<number>
  /** 1 where the target is the most likely token. */
  readonly correct: ArrayLike<number>
  /** Of the next-token distribution, nats. */
  readonly entropy?: ArrayLike<number>
  /** KL(reference || policy), nats. */
  readonly klRef?: ArrayLike<number>
}

interface ClassSums {
  readonly count: number
  readonly p: number
  /** Tokens with p < 0.1: those that DFT abandons. */
  readonly unlikely: number
}

/** Plain sums: they travel between workers as JSON, and adding them is merging. */
export interface TokenStatistics {
  readonly count: number
  readonly loss: number
  readonly nll: number
  readonly p: number
  readonly weight: number
  /** Of the weights' sizes: objectives on pairs and samples have weights of both signs. */
  readonly weightSize: number
  readonly weightSquared: number
  readonly correct: number
  readonly entropy: number
  readonly klRef: number
  readonly hasKlRef: boolean
  readonly classes: readonly ClassSums[]
  /** [0, 0.1), ... [0.9, 1]. */
  readonly bins: readonly number[]
  /** [0, 1e-4), [1e-4, 1e-3), [1e-3, 1e-2). */
  readonly smallBins: readonly number[]
}

export const NO_TOKENS: TokenStatistics = {
  count: 0,
  loss: 0,
  nll: 0,
  p: 0,
  weight: 0,
  weightSize: 0,
  weightSquared: 0,
  correct: 0,
  entropy: 0,
  klRef: 0,
  hasKlRef: false,
  classes: TOKEN_CLASSES.map(() => ({ count: 0, p: 0, unlikely: 0 })),
  bins: Array<number>(10).fill(0),
  smallBins: Array<number>(3).fill(0),
}

export function tokenStatistics(tokens: TokenNumbers): TokenStatistics {
  const { logp, loss, weight, tokenClass, correct, entropy, klRef } = tokens
  const classes = TOKEN_CLASSES.map(() => ({ count: 0, p: 0, unlikely: 0 }))
  const bins = Array<number>(10).fill(0)
  const smallBins = Array<number>(3).fill(0)
  const sums = { loss: 0, nll: 0, p: 0, weight: 0, weightSize: 0, weightSquared: 0, correct: 0 }
  let [entropySum, klSum] = [0, 0]
  for (let t = 0; t < logp.length; t++) {
    const p = Math.exp(logp[t]!)
    sums.loss += loss[t]!
    sums.nll -= logp[t]!
    sums.p += p
    sums.weight += weight[t]!
    sums.weightSize += Math.abs(weight[t]!)
    sums.weightSquared += weight[t]! ** 2
    sums.correct += correct[t]!
    entropySum += entropy?.[t] ?? 0
    klSum += klRef?.[t] ?? 0
    const sameClass = classes[tokenClass[t]!]!
    sameClass.count += 1
    sameClass.p += p
    if (p < 0.1) sameClass.unlikely += 1
    // Float32 sums can put p a hair above 1; a NaN is in no bin.
    if (p >= 0) bins[Math.min(9, Math.floor(p * 10))]! += 1
    if (p < 1e-2) smallBins[p < 1e-4 ? 0 : p < 1e-3 ? 1 : 2]! += 1
  }
  return {
    count: logp.length,
    ...sums,
    entropy: entropySum,
    klRef: klSum,
    hasKlRef: klRef !== undefined,
    classes,
    bins,
    smallBins,
  }
}

/** The statistics of both together: micro-batches, workers, or batches of an evaluation set. */
export function addStatistics(a: TokenStatistics, b: TokenStatistics): TokenStatistics {
  const sum = (x: readonly number[], y: readonly number[]) => x.map((value, k) => value + y[k]!)
  return {
    count: a.count + b.count,
    loss: a.loss + b.loss,
    nll: a.nll + b.nll,
    p: a.p + b.p,
    weight: a.weight + b.weight,
    weightSize: a.weightSize + b.weightSize,
    weightSquared: a.weightSquared + b.weightSquared,
    correct: a.correct + b.correct,
    entropy: a.entropy + b.entropy,
    klRef: a.klRef + b.klRef,
    hasKlRef: a.hasKlRef || b.hasKlRef,
    classes: a.classes.map((one, k) => {
      const other = b.classes[k]!
      return {
        count: one.count + other.count,
        p: one.p + other.p,
        unlikely: one.unlikely + other.unlikely,
      }
    }),
    bins: sum(a.bins, b.bins),
    smallBins: sum(a.smallBins, b.smallBins),
  }
}

export type StatisticsFields = Pick<
  StepEvent,
  | "loss"
  | "nll"
  | "mean_p"
  | "mean_weight"
  | "effective_tokens"
  | "entropy"
  | "token_accuracy"
  | "eos_p"
  | "special_p"
  | "kl_ref"
>

/**
 * Means over the supervised tokens; effective_tokens is (sum |w|)^2 / sum w^2. `loss` is the mean
 * over tokens: under another normalization the trainer puts its own sum in its place. Without
 * tokens every mean is 0.
 */
export function statisticsFields(statistics: TokenStatistics): StatisticsFields {
  const { count, weight, weightSize, weightSquared, classes } = statistics
  const mean = (sum: number) => (count === 0 ? 0 : sum / count)
  const classMean = ({ count, p }: ClassSums) => (count === 0 ? null : p / count)
  return {
    loss: mean(statistics.loss),
    nll: mean(statistics.nll),
    mean_p: mean(statistics.p),
    mean_weight: mean(weight),
    effective_tokens: weightSquared === 0 ? 0 : weightSize ** 2 / weightSquared,
    entropy: mean(statistics.entropy),
    token_accuracy: mean(statistics.correct),
    eos_p: classMean(classes[END_OF_TURN]!),
    special_p: classMean(classes[SPECIAL]!),
    ...(statistics.hasKlRef ? { kl_ref: mean(statistics.klRef) } : {}),
  }
}

export function histogramFields({
  bins,
  smallBins,
}: TokenStatistics): Pick<HistogramEvent, "bins" | "small_bins"> {
  return { bins, small_bins: smallBins }
}

/**
 * Statistics of a micro-batch's supervised tokens, from the decoder's outputs. Zeros where it has
 * none. Of pairs only the chosen sides are told: `sign` [S] is above 0 on their tokens.
 */
export function statisticsOf(
  outputs: TokenOutputs,
  tokenClass: ArrayLike<number>,
  sign?: ArrayLike<number>,
): TokenStatistics {
  if (sign) {
    const isChosen = (_: number, t: number) => sign[t]! > 0
    const chosen = Object.entries(outputs).map(([name, values]) => [name, values.filter(isChosen)])
    return statisticsOf(
      Object.fromEntries(chosen) as TokenOutputs,
      Array.prototype.filter.call(tokenClass, isChosen) as number[],
    )
  }
  const { logp, loss, weight, correct, entropy, kl_ref } = outputs
  if (logp.length === 0) return NO_TOKENS
  const klRef = kl_ref ? { klRef: kl_ref } : {}
  return tokenStatistics({ logp, loss, weight, correct, entropy, tokenClass, ...klRef })
}
