import type { Normalization } from "./objective.ts"

/** The supervised tokens of one optimizer step, all micro-batches together. */
export interface StepTokens {
  /** By token: the index of its sequence in the step. */
  readonly segments: ArrayLike<number>
  /** By token: the index of its micro-batch (over all workers). `paper` needs it. */
  readonly microBatches: ArrayLike<number>
  /** By token: -d loss / d logp, detached. `weights` needs it. */
  readonly weights: ArrayLike<number>
  /** The longest a sampled sequence may be. `max_tokens` needs it. */
  readonly maxTokens?: number
}

/**
 * By token, the factor s_t with which the step's loss is sum_t s_t loss_t and its gradient
 * sum_t s_t grad loss_t:
 *
 *     tokens     1 / N
 *     sequences  1 / (S n_s),  n_s supervised tokens of the token's own sequence, S sequences that have any
 *     weights    1 / sum of weights
 *     paper      1 / n_m,  n_m supervised tokens of the token's own micro-batch: not divided by their number,
 *                as in the official code (docs/method.md, 1.1), so that the gradient grows with the accumulation
 *     pairs      1 / P,  P pairs: sequences 2k and 2k + 1
 *     sequence_sums  1 / S
 *     max_tokens 1 / (S maxTokens)
 *
 * All but `paper` are the same under any split into micro-batches and workers. No tokens, no
 * factors.
 */
export function tokenScales(normalization: Normalization, tokens: StepTokens): Float64Array {
  return SCALES[normalization](tokens)
}

const SCALES: { readonly [Name in Normalization]: (tokens: StepTokens) => Float64Array } = {
  tokens: ({ segments }) => new Float64Array(segments.length).fill(1 / segments.length),
  sequences: ({ segments }) => {
    const counts = countsByIndex(segments)
    return Float64Array.from(segments, (s) => 1 / (counts.size * counts.get(s)!))
  },
  weights: ({ weights }) => {
    const sum = Array.prototype.reduce.call(weights, (a, b) => (a as number) + b, 0) as number
    // Every weight 0 is a step that teaches nothing, not a division by zero.
    return new Float64Array(weights.length).fill(sum === 0 ? 0 : 1 / sum)
  },
  paper: ({ microBatches }) => {
    const counts = countsByIndex(microBatches)
    return Float64Array.from(microBatches, (m) => 1 / counts.get(m)!)
  },
  pairs: ({ segments }) => {
    const pairs = new Set(Array.from(segments, (s) => s >> 1))
    return new Float64Array(segments.length).fill(1 / pairs.size)
  },
  sequence_sums: ({ segments }) =>
    new Float64Array(segments.length).fill(1 / countsByIndex(segments).size),
  max_tokens: ({ segments, maxTokens = 1 }) =>
    new Float64Array(segments.length).fill(1 / (countsByIndex(segments).size * maxTokens)),
}

function countsByIndex(indices: ArrayLike<number>): Map<number, number> {
  const counts = new Map<number, number>()
  for (let t = 0; t < indices.length; t++) {
    counts.set(indices[t]!, (counts.get(indices[t]!) ?? 0) + 1)
  }
  return counts
}
