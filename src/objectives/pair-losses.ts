/** What losses of pairs, and of sequences, are written with. */
import { constant, type Expression, where } from "./expression.ts"
import type { ObjectiveInputs } from "./objective.ts"

/** ln(1 + e^x): no overflow for large |x|, and the slope is sigmoid(x) throughout. */
export function softplus(x: Expression): Expression {
  const away = x.max(x.negate()).negate().exp() // e^-|x|
  return x.max(0).plus(away.plus(1).log())
}

/** The number of supervised tokens of each token's own sequence. */
export const sequenceLength = (): Expression => constant(1).detach().sequenceSum()

/**
 * A sum over the sequence that carries the gradient of each token's own share: its value is the
 * whole sum, its derivative by a token's logp that of the token's term.
 */
export function carriedSum(terms: Expression): Expression {
  return terms.detach().sequenceSum().plus(ownShare(terms))
}

/** 0, with the gradient of the term. */
const ownShare = (terms: Expression): Expression => terms.minus(terms.detach())

/** One quantity of each side of a pair. */
export interface Sides {
  readonly chosen: Expression
  readonly rejected: Expression
}

export interface PairOf {
  /** 1 on the tokens of the chosen side. */
  readonly isChosen: Expression
  /** Supervised tokens of each side, and of both. */
  readonly lengths: Sides
  readonly length: Expression
  /**
   * Each side's sum of a quantity of its tokens; on each token it carries that token's gradient.
   */
  sums(terms: Expression): Sides
  /** The same over each side's own number of tokens. */
  means(terms: Expression): Sides
}

/** The two sides of each token's pair, from `pair_sign`: above 0 chosen, below 0 rejected. */
export function pairOf({ pair_sign }: ObjectiveInputs): PairOf {
  const isChosen = pair_sign.greater(0)
  const isRejected = pair_sign.less(0)
  const sumOver = (side: Expression, terms: Expression) =>
    where(side, terms, 0)
      .detach()
      .pairSum()
      .plus(where(side, ownShare(terms), 0))
  const count = (side: Expression) => side.detach().pairSum()
  const lengths = { chosen: count(isChosen), rejected: count(isRejected) }
  const sums = (terms: Expression): Sides => ({
    chosen: sumOver(isChosen, terms),
    rejected: sumOver(isRejected, terms),
  })
  return {
    isChosen,
    lengths,
    length: constant(1).detach().pairSum(),
    sums,
    means(terms) {
      const { chosen, rejected } = sums(terms)
      return { chosen: chosen.over(lengths.chosen), rejected: rejected.over(lengths.rejected) }
    },
  }
}

/**
 * What is minimised and what is reported of a loss that is one number a pair. On each token of the
 * pair `loss` has that token's share of the gradient; reported, the tokens share the value, so that
 * their sum is the pair's.
 */
export function pairForm(loss: Expression, { length }: PairOf) {
  return { direct: loss, value: loss.detach().over(length) }
}

/** How the chosen answers are also learnt by themselves. */
export interface ChosenTerm {
  /** Its strength. */
  readonly sft: number
  /** The NLL, or DFT's: the NLL weighted by the target's own probability. */
  readonly sft_weight: "nll" | "dft"
}

/**
 * The mean over the step's chosen tokens of sft c, or of sft sg(p) c. The step's sum is divided by
 * its pairs, so the term brings their number P over the number of chosen tokens N with it.
 */
function chosenTerm(
  { isChosen, length }: PairOf,
  { p, nll }: ObjectiveInputs,
  { sft, sft_weight }: ChosenTerm,
): Expression {
  const pairs = constant(1).over(length).detach().batchSum()
  const tokens = isChosen.detach().batchSum()
  const weight = pairs.over(tokens.max(1)).times(sft)
  const term = sft_weight === "dft" ? p.detach().times(nll) : nll
  return where(isChosen, weight.detach().times(term), 0)
}

/** A form with the chosen term added to what trains and to what is reported. */
export function withChosenTerm(
  form: { readonly direct: Expression; readonly value: Expression },
  pair: PairOf,
  inputs: ObjectiveInputs,
  settings: ChosenTerm,
) {
  if (settings.sft === 0) return form
  const term = chosenTerm(pair, inputs, settings)
  return { direct: form.direct.plus(term), value: form.value.plus(term.detach()) }
}
