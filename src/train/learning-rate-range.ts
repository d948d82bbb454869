import { InputError } from "../errors.ts"
import { forwardBackward, gradientScale } from "./forward-backward.ts"
import { klStep } from "./kl-step.ts"
import { stepBatch } from "./micro-batches.ts"
import { runHead } from "./objective-batches.ts"
import type { PlanOptions, RunPlan } from "./plan.ts"
import { runRows } from "./run-reference.ts"
import type { Session } from "./session.ts"
import { statisticsFields } from "./token-statistics.ts"

export interface RangePoint {
  readonly learning_rate: number
  readonly loss: number
  readonly nll: number
}

export interface LearningRateRange {
  readonly points: readonly RangePoint[]
  readonly suggested: number | null
}

const STEPS = 30
const RANGE: readonly [number, number] = [1e-7, 1e-1]

/**
 * A learning-rate range test (Smith, arXiv 1506.01186): the rate grows by a factor each step until
 * the cross-entropy is half again what it was. Suggested is a third of the rate where the
 * objective's loss was lowest. The weights are spoiled by it and thrown away.
 */
export async function learningRateRange(
  plan: RunPlan,
  session: Session,
  { signal, onProgress }: PlanOptions,
): Promise<LearningRateRange> {
  const { config, objective, split } = plan
  const { policy, reference } = session
  const head = runHead(objective)
  if (head.needsOldLogprobs) {
    throw new InputError(`--lr-range: ${objective.name} has no meaning outside its run of updates`)
  }
  const few = { ...plan.batches, steps: Math.min(plan.batches.steps, STEPS) }
  const { batches } = await runRows({ ...plan, batches: few, evalSets: [] }, session, {
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
  })
  const points: RangePoint[] = []
  for (let step = 1; step <= STEPS; step++) {
    signal?.throwIfAborted()
    onProgress?.(`learning-rate range test: step ${step} of ${STEPS}`)
    const learningRate = RANGE[0] * (RANGE[1] / RANGE[0]) ** ((step - 1) / (STEPS - 1))
    const { rows, mismatched } = batches.batch(1 + ((step - 1) % batches.steps))
    const { decoder } = policy
    const kl = mismatched ? { kl_step: await klStep(decoder, mismatched, { split }) } : {}
    const result = await forwardBackward({
      policy,
      head,
      normalization: objective.normalization,
      batch: stepBatch(rows, { ...split, normalization: objective.normalization }),
      scalars: { ...kl, progress: 0.5, step, steps: STEPS },
      reference,
      seed: (microBatch) => step * STEPS + microBatch,
      signal,
    })
    if (!result) continue // asked to stop in the middle of it
    const { loss: ofTokens, nll } = statisticsFields(result.statistics)
    const loss = head.value ? result.loss : ofTokens
    points.push({ learning_rate: learningRate, loss, nll })
    if (!Number.isFinite(nll) || nll > 1.5 * points[0]!.nll + 0.5) break
    const scale = gradientScale(result, config.max_grad_norm)
    if (Number.isFinite(scale)) await policy.update({ step, learningRate, gradientScale: scale })
  }
  return { points, suggested: suggestedRate(points) }
}

/** A rate that raises the cross-entropy by more than this share is past what training bears. */
const BEARABLE = 1.1

/**
 * A third of the rate at the lowest smoothed loss, among those before the cross-entropy left where
 * it was: a falling DFT loss alone proves nothing (docs/method.md, 3). null where none fell.
 */
export function suggestedRate(points: readonly RangePoint[]): number | null {
  const smooth = (field: "loss" | "nll") =>
    points.map((_, i) => {
      const near = points.slice(Math.max(0, i - 1), i + 2).map((point) => point[field])
      const finite = near.filter(Number.isFinite)
      return finite.reduce((sum, value) => sum + value, 0) / Math.max(1, finite.length)
    })
  const [losses, nlls] = [smooth("loss"), smooth("nll")]
  const past = nlls.findIndex((nll) => nll > BEARABLE * nlls[0]!)
  let best = 0
  for (const [i, loss] of losses.slice(0, past < 0 ? undefined : past).entries()) {
    if (loss < losses[best]!) best = i
  }
  return best === 0 ? null : points[best]!.learning_rate / 3
}
