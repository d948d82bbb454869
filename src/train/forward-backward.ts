import { type Reference, RouterBalance, type TokenOutputs } from "../models/index.ts"
import type { Normalization } from "../objectives/index.ts"
import { clipScale } from "../optim/index.ts"
import { lossInputs, stepColumns } from "./loss-inputs.ts"
import { divisor, type MicroBatch, type StepBatch } from "./micro-batches.ts"
import type { ObjectiveHead, StepColumns } from "./objective-head.ts"
import type { Policy } from "./policy.ts"
import { scoreStatistics } from "./score-statistics.ts"
import type { SourceLosses } from "./source-losses.ts"
import { addStatistics, NO_TOKENS, statisticsOf, type TokenStatistics } from "./token-statistics.ts"

export interface ForwardBackwardParts {
  readonly policy: Policy
  readonly head: ObjectiveHead
  readonly normalization: Normalization
  readonly batch: StepBatch
  /** `progress`, `step`, `steps`, and what else is one number for the step. */
  readonly scalars: Readonly<Record<string, number>>
  readonly reference: ((microBatch: MicroBatch) => Promise<Reference>) | undefined
  /** Of a micro-batch's dropout; another number for each. */
  readonly seed: (microBatch: number) => number
  readonly onMicroBatch?: (done: number, all: number) => void
  /** Told of every supervised token. */
  readonly sources?: SourceLosses | undefined
  readonly signal?: AbortSignal | undefined
}

export interface StepResult {
  readonly batch: StepBatch
  readonly statistics: TokenStatistics
  /** The normalised value of the objective. */
  readonly loss: number
  readonly divisor: number
  /** Of the normalised gradient, before clipping. */
  readonly gradientNorm: number
  /** Of the routers to experts, before its weight; only where it is trained. */
  readonly auxLoss: number | undefined
  /**
   * All the step's tokens, for what is told of them; only where the objective tells more than its
   * loss.
   */
  readonly columns: StepColumns | undefined
}

/**
 * Gradients of one step's rows, summed over its micro-batches; undefined when `signal` asks to stop
 * before they are whole. The weights are as they were either way.
 */
export async function forwardBackward(
  parts: ForwardBackwardParts,
): Promise<StepResult | undefined> {
  const { policy, head, normalization, batch, signal } = parts
  const { decoder } = policy
  const { microBatches } = batch
  const { together } = batch
  const inputs = await lossInputs({ ...parts, decoder, microBatches, together })
  const balance = await routerBalance(parts)
  if (balance === "aborted") return undefined
  await decoder.zeroGradients()
  let statistics = NO_TOKENS
  let loss = 0
  let weights = 0
  const { scores } = decoder.shape
  const tells = head.value !== undefined || head.measures || scores
  const all: TokenOutputs[] = []
  for (const [i, microBatch] of microBatches.entries()) {
    if (signal?.aborted) return undefined
    parts.onMicroBatch?.(i, microBatches.length)
    const fed = await inputs(microBatch)
    const { pack } = microBatch
    const outputs = await decoder.train(pack, head.settings, fed, parts.seed(i), balance)
    if (!scores) {
      const { token_class, pair_sign } = microBatch.columns
      const found = statisticsOf(outputs, token_class, head.paired ? pair_sign : undefined)
      statistics = addStatistics(statistics, found)
      parts.sources?.add(microBatch, outputs)
    }
    if (tells) all.push(outputs)
    let own = 0
    outputs.loss.forEach((value, token) => {
      loss += value * microBatch.scale[token]!
      own += outputs.weight[token]! * microBatch.scale[token]!
    })
    weights += own
  }
  // Without any weight there is no gradient either: dividing by one leaves it so.
  const divided = divisor(normalization, batch, weights) || 1
  const norm = Math.sqrt(await policy.squaredGradientNorm()) / Math.abs(divided)
  const columns = tells ? stepColumns(microBatches, all, parts.scalars) : undefined
  if (scores) statistics = scoreStatistics(columns!, joinedOutputs(all))
  if (head.value) loss = scaledSum(head.value(columns!), microBatches)
  return {
    ...{ batch, statistics, columns },
    loss: loss / divided,
    divisor: divided,
    gradientNorm: norm,
    auxLoss: balance?.loss,
  }
}

/**
 * Of the step's routers, where their auxiliary loss is trained: of several micro-batches after a
 * pass that counts where their tokens are sent.
 */
async function routerBalance(
  parts: ForwardBackwardParts,
): Promise<RouterBalance | "aborted" | undefined> {
  const { policy, normalization, batch, signal } = parts
  const { decoder } = policy
  if (decoder.routerAuxLossCoef === 0) return undefined
  // Gradients are divided by it afterwards; `weights`, whose sum is not known yet, is refused.
  const weight = decoder.routerAuxLossCoef * (divisor(normalization, batch, 0) || 1)
  const balance = new RouterBalance(weight)
  const { microBatches } = batch
  if (microBatches.length === 1) return balance
  for (const [i, { pack }] of microBatches.entries()) {
    if (signal?.aborted) return "aborted"
    parts.onMicroBatch?.(i, 2 * microBatches.length)
    balance.count(await decoder.routed(pack, parts.seed(i)))
  }
  return balance
}

/** Loss and weight of all micro-batches one after the other. */
export function joinedOutputs(all: readonly TokenOutputs[]) {
  const of = (key: "loss" | "weight") => all.flatMap((outputs) => [...outputs[key]])
  return { loss: of("loss"), weight: of("weight") }
}

/** What the step's tokens have of a value, each times its scale. */
export function scaledSum(values: Float64Array, microBatches: readonly MicroBatch[]): number {
  let sum = 0
  let token = 0
  for (const { scale } of microBatches) for (const factor of scale) sum += values[token++]! * factor
  return sum
}

/** What the summed gradients are multiplied with: the division by the count, and clipping. */
export function gradientScale({ divisor, gradientNorm }: StepResult, maxGradNorm: number): number {
  return clipScale(gradientNorm, maxGradNorm) / divisor
}
