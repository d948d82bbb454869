import { assert } from "../errors.ts"

type DecayType = "cosine" | "linear" | "1-sqrt"
export type ScheduleName =
  | "cosine"
  | "linear"
  | "constant"
  | "cosine_with_min_lr"
  | "warmup_stable_decay"

/** As `lr_scheduler_kwargs` of a resolved config has them; null where a schedule takes none. */
export interface ScheduleOptions {
  readonly min_lr_rate: number | null
  readonly num_decay_steps: number | null
  /** In place of the steps: their share of all. */
  readonly decay_ratio: number | null
  readonly decay_type: DecayType | null
}

export interface ScheduleStep {
  readonly schedule: ScheduleName
  readonly options?: ScheduleOptions | null | undefined
  readonly peak: number
  readonly warmupSteps: number
  readonly steps: number
  readonly step: number
}

/** By name: what is left of 1 after a fraction (0 to 1) of a fall. */
const FALLS: { readonly [Name in DecayType]: (fraction: number) => number } = {
  cosine: (fraction) => 0.5 * (1 + Math.cos(Math.PI * fraction)),
  linear: (fraction) => 1 - fraction,
  "1-sqrt": (fraction) => 1 - Math.sqrt(fraction),
}

/**
 * Learning rate of step k (from 1) of n, under warmup w (docs/training.md):
 *
 *     k <= w:  peak k / w
 *     k > w:   peak shape((k - w) / (n - w)),   cosine: (1 + cos(pi x)) / 2, linear: 1 - x, constant: 1
 *
 * Cosine and linear thus end at 0 in the last step. The shapes with a floor f are Transformers'
 * (`optimization.py`) at its step k, and end at peak f.
 */
export function learningRate(at: ScheduleStep): number {
  const { schedule, peak, warmupSteps: warmup, steps, step } = at
  assert(step >= 1 && step <= steps, `learningRate: step ${step} is not in 1 to ${steps}`)
  const floor = at.options?.min_lr_rate ?? 0
  const above = (share: number) => share * (1 - floor) + floor
  if (step <= warmup) {
    return schedule === "warmup_stable_decay" ? peak * above(step / warmup) : (peak * step) / warmup
  }
  const fraction = (step - warmup) / (steps - warmup)
  switch (schedule) {
    case "constant":
      return peak
    case "cosine":
    case "linear":
      return peak * FALLS[schedule](fraction)
    case "cosine_with_min_lr":
      return peak * above(FALLS.cosine(fraction))
    case "warmup_stable_decay": {
      const fall = decaySteps(at)
      const stableEnd = steps - fall
      if (step <= stableEnd) return peak
      return peak * above(FALLS[at.options?.decay_type ?? "cosine"]((step - stableEnd) / fall))
    }
  }
}

/** The last steps, in which warmup_stable_decay falls: at most those after the warmup. */
function decaySteps({ options, steps, warmupSteps }: ScheduleStep): number {
  const asked = options?.num_decay_steps ?? Math.ceil(steps * (options?.decay_ratio ?? 0))
  return Math.min(asked, steps - warmupSteps)
}

/**
 * Steps that warm up: `warmup_steps`, or `warmup_ratio` of all, rounded up, as transformers does.
 */
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
