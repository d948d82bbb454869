/**
 * A float64 softmax over a small vocabulary: the loss and its gradient on the logits, for tests.
 */
import { type Expression, evaluate } from "../../src/objectives/index.ts"

/** Log-probabilities of one row of logits, by log-sum-exp. */
export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  const z = Float64Array.from(logits)
  const top = z.reduce((a, b) => Math.max(a, b))
  const lse = top + Math.log(z.reduce((sum, x) => sum + Math.exp(x - top), 0))
  return z.map((x) => x - lse)
}

export interface Rows {
  /** [T][V] */
  readonly logits: readonly (readonly number[])[]
  readonly labels: readonly number[]
  /** 1 where supervised. */
  readonly lossMask: readonly number[]
  /** [T][V], log-probabilities of the reference. */
  readonly reference?: readonly Float64Array[]
}

export interface LossAndGradient {
  /** Sum over the supervised tokens. */
  readonly sum: number
  readonly count: number
  /** [T][V], of the sum. */
  readonly gradient: Float64Array[]
  readonly logp: Float64Array
}

/**
 * The way every engine goes: only supervised rows enter, the expression sees one number a token,
 * and its coefficients return to the logits by the chain rule:
 *
 *     d logp / dz = onehot - p,   d H / dz = -p (ln p + H),   d KL(ref || p) / dz = p - p_ref
 */
export function lossAndGradient(expression: Expression, rows: Rows): LossAndGradient {
  const { logits, labels, lossMask, reference } = rows
  const kept = [...lossMask.keys()].filter((t) => lossMask[t] === 1)
  const logprobs = kept.map((t) => logSoftmax(logits[t]!))
  const logp = Float64Array.from(kept, (t, k) => logprobs[k]![labels[t]!]!)
  const entropy = Float64Array.from(logprobs, (row) => {
    return -row.reduce((sum, x) => sum + (x === -Infinity ? 0 : Math.exp(x) * x), 0)
  })
  const klRef = Float64Array.from(kept, (t, k) => {
    const other = reference?.[t]
    return other?.reduce((sum, x, v) => sum + Math.exp(x) * (x - logprobs[k]![v]!), 0) ?? 0
  })
  const columns = { logp, entropy, kl_ref: klRef }
  const { loss, coefficients } = evaluate(expression, columns, new Int32Array(kept.length))
  const gradient = logits.map((row) => new Float64Array(row.length))
  kept.forEach((t, k) => {
    logprobs[k]!.forEach((x, v) => {
      const p = Math.exp(x)
      const onehot = v === labels[t] ? 1 : 0
      const byEntropy = p === 0 ? 0 : -p * (x + entropy[k]!)
      gradient[t]![v] =
        coefficients.logp[k]! * (onehot - p) +
        (coefficients.entropy?.[k] ?? 0) * byEntropy +
        (coefficients.kl_ref?.[k] ?? 0) * (p - Math.exp(reference?.[t]?.[v] ?? 0))
    })
  })
  return { sum: loss.reduce((a, b) => a + b, 0), count: kept.length, gradient, logp }
}

/** A seeded stream of normal numbers, so that a failure repeats. */
export function normal(seed: number): () => number {
  let state = seed >>> 0
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
}
