import { decays } from "../../src/optim/index.ts"

/**
 * AdamW in float64 (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, as torch.optim.AdamW has
 * it): the definition by which every engine's update is judged, and not itself an engine.
 */
export interface AdamWOptions {
  readonly learningRate: number
  readonly beta1?: number
  readonly beta2?: number
  readonly epsilon?: number
  readonly weightDecay?: number
}

export interface Moments {
  readonly first: Float64Array
  readonly second: Float64Array
}

export function zeroMoments(length: number): Moments {
  return { first: new Float64Array(length), second: new Float64Array(length) }
}

/**
 * One update, in place, of step t (from 1) of a parameter and its moments:
 *
 *     w <- w - lr decay w                       only with two or more dimensions
 *     m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
 *     w <- w - lr / (1 - b1^t) m / (sqrt(v / (1 - b2^t)) + eps)
 */
export function adamwStep(
  parameter: { readonly values: Float64Array; readonly shape: readonly number[] },
  gradient: ArrayLike<number>,
  { first, second }: Moments,
  step: number,
  { learningRate, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weightDecay = 0.01 }: AdamWOptions,
): void {
  const { values, shape } = parameter
  const decay = decays(shape) ? 1 - learningRate * weightDecay : 1
  const firstCorrection = 1 - beta1 ** step
  const secondCorrection = 1 - beta2 ** step
  for (let i = 0; i < values.length; i++) {
    const g = gradient[i]!
    first[i] = beta1 * first[i]! + (1 - beta1) * g
    second[i] = beta2 * second[i]! + (1 - beta2) * g * g
    const denominator = Math.sqrt(second[i]! / secondCorrection) + epsilon
    values[i] = decay * values[i]! - ((learningRate / firstCorrection) * first[i]!) / denominator
  }
}
