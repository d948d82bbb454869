import { assert } from "../errors.ts"

export type ScheduleName = "cosine" | "linear" | "constant"

/** By name: the share of the peak left after a fraction (0 to 1) of the steps that follow the warmup. */
const SHAPES: { readonly [Name in ScheduleName]: (fraction: number) => number } = {
  cosine: (fraction) => 0.5 * (1 + Math.cos(Math.PI * fraction)),
  linear: (fraction) => 1 - fraction,
  constant: () => 1,
}

/**
 * Learning rate of step k (from 1) of n, under warmup w (docs/training.md):
 *
 *     k <= w:  peak k / w
 *     k > w:   peak shape((k - w) / (n - w)),   cosine: (1 + cos(pi x)) / 2, linear: 1 - x, constant: 1
 *
 * Cosine and linear thus end at 0 in the last step.
 */
export function learningRate({
  schedule,
  peak,
  warmupSteps,
  steps,
  step,
}: {
  readonly schedule: ScheduleName
  readonly peak: number
  readonly warmupSteps: number
  readonly steps: number
  readonly step: number
}): number {
  assert(step >= 1 && step <= steps, `learningRate: step ${step} is not in 1 to ${steps}`)
  if (step <= warmupSteps) return (peak * step) / warmupSteps
  return peak * SHAPES[schedule]((step - warmupSteps) / (steps - warmupSteps))
}

/** Steps that warm up: `warmup_steps`, or `warmup_ratio` of all, rounded up, as transformers does. */
export function warmupSteps(
  steps: number,
  { warmup_ratio, warmup_steps = null }: WarmupSettings,
): number {
  return Math.min(steps, warmup_steps ?? Math.ceil(steps * warmup_ratio))
}

export interface WarmupSettings {
  readonly warmup_ratio: number
  /** In place of the ratio. */
  readonly warmup_steps?: number | null
}
