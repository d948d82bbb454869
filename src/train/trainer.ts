import type { RunOrder } from "../data/order.ts"
import type { Prepared } from "../data/prepared.ts"
import { InputError } from "../errors.ts"
import type { Reference } from "../models/index.ts"
import type { Objective } from "../objectives/index.ts"
import { learningRate, type ScheduleName, warmupSteps } from "../optim/index.ts"
import type { RunEvent, StepEvent } from "../run/events.ts"
import { abandonedTokensWarning, keepsSpecialTokens } from "./abandoned-tokens.ts"
import { type EvalSet, type EvaluationParts, evaluations } from "./evaluation.ts"
import { forwardBackward, gradientScale, type StepResult } from "./forward-backward.ts"
import { type MicroBatch, type StepBatch, stepBatch } from "./micro-batches.ts"
import { type ObjectiveHead, objectiveHead } from "./objective-head.ts"
import type { OldLogprobs } from "./old-logprobs.ts"
import type { Policy } from "./policy.ts"
import { histogramFields, statisticsFields, type TokenStatistics } from "./token-statistics.ts"

/** An event before it is stamped with its time. */
export type EventBody = RunEvent extends infer Event
  ? Event extends RunEvent
    ? Omit<Event, "time">
    : never
  : never

export interface TrainerSettings {
  readonly learningRate: number
  readonly schedule: ScheduleName
  readonly warmupRatio: number
  readonly maxGradNorm: number
  readonly microBatchTokens: number
  readonly packing: boolean
  readonly seed: number
  readonly onNonfinite: "stop" | "skip"
  readonly saveSteps: number
  readonly evalSteps: number
  readonly sampleSteps: number | null
}

/** What the loop works with; everything that touches the disk or another model is given to it. */
export interface TrainerParts {
  readonly policy: Policy
  readonly objective: Objective
  readonly rows: Prepared
  readonly order: RunOrder
  readonly evalSets: readonly EvalSet[]
  readonly settings: TrainerSettings
  /** The frozen model of objectives that have one. */
  readonly reference?: (microBatch: MicroBatch) => Promise<Reference>
  /** For objectives that compare with an earlier policy. */
  readonly oldLogprobs?: OldLogprobs
  /** Writes a checkpoint and returns its path. */
  readonly save: (progress: Progress) => Promise<string>
  readonly sample?: (step: number, signal?: AbortSignal) => AsyncIterable<EventBody>
  readonly signal?: AbortSignal
}

/** How far a run is: with the weights and moments, all that a resumed run needs. */
export interface Progress {
  readonly step: number
  readonly tokens: number
  readonly supervisedTokens: number
  /** Statistics of the first step, which later ones are compared with. */
  readonly first: TokenStatistics | null
}

export const START: Progress = { step: 0, tokens: 0, supervisedTokens: 0, first: null }

/**
 * The training loop: forward, backward and update until the steps are done or `signal` asks to
 * stop, which it does after a checkpoint. Yields what happens; returns how far it came and why it ended.
 *
 * @throws InputError when the loss or a gradient is not finite and the settings say stop
 */
export async function* trainSteps(
  parts: TrainerParts,
  start: Progress = START,
): AsyncGenerator<EventBody, { progress: Progress; reason: "done" | "interrupted" }> {
  const { policy, order, settings, signal } = parts
  const head = objectiveHead(parts.objective)
  const warmup = warmupSteps(order.steps, settings.warmupRatio)
  let progress = start
  let warned = false
  let saved = start.step
  if (start.step === 0) yield* evaluations(evaluationParts(parts, head), progress.step)

  while (progress.step < order.steps) {
    if (signal?.aborted) {
      if (saved < progress.step) yield checkpoint(await parts.save(progress), progress)
      return { progress, reason: "interrupted" }
    }
    const began = performance.now()
    const step = progress.step + 1
    const result = await stepResult(parts, head, step)
    if (!result) continue // asked to stop in the middle of it
    const problem = nonfinite(result, step)
    if (problem && settings.onNonfinite === "stop") throw new InputError(problem)

    const rate = learningRate({
      schedule: settings.schedule,
      peak: settings.learningRate,
      warmupSteps: warmup,
      steps: order.steps,
      step,
    })
    if (problem) {
      yield {
        type: "warning",
        step,
        code: "skipped-step",
        message: problem,
        hint: "the weights were left as they were; on_nonfinite: stop ends the run here instead",
      }
    } else {
      const scale = gradientScale(result, settings.maxGradNorm)
      await policy.update({ step, learningRate: rate, gradientScale: scale })
    }
    progress = advance(progress, step, result)
    yield stepEvent(result, { progress, order, rate, seconds: (performance.now() - began) / 1000 })
    yield { type: "histogram", step, name: "train", ...histogramFields(result.statistics) }

    const warning = warned ? undefined : abandoned(parts.objective, progress, result.statistics)
    if (warning) {
      warned = true
      yield { type: "warning", step, ...warning }
    }
    const last = step === order.steps
    if (last || (settings.evalSteps > 0 && step % settings.evalSteps === 0)) {
      yield* evaluations(evaluationParts(parts, head), progress.step)
    }
    if (parts.sample && settings.sampleSteps && (last || step % settings.sampleSteps === 0)) {
      yield* parts.sample(step, signal)
    }
    if (!last && settings.saveSteps > 0 && step % settings.saveSteps === 0) {
      yield checkpoint(await parts.save(progress), progress)
      saved = step
    }
  }
  return { progress, reason: "done" }
}

function evaluationParts(parts: TrainerParts, head: ObjectiveHead): EvaluationParts {
  const { policy, evalSets, order, reference, signal, objective, settings } = parts
  return {
    decoder: policy.decoder,
    head,
    evalSets,
    steps: order.steps,
    batch: {
      capacity: settings.microBatchTokens,
      packing: settings.packing,
      normalization: objective.normalization,
    },
    ...(reference ? { reference } : {}),
    ...(signal ? { signal } : {}),
  }
}

const checkpoint = (path: string, { step }: Progress): EventBody => ({
  type: "checkpoint",
  step,
  path,
})

function advance({ first, ...progress }: Progress, step: number, result: StepResult): Progress {
  return {
    step,
    tokens: progress.tokens + result.batch.tokens,
    supervisedTokens: progress.supervisedTokens + result.batch.supervisedTokens,
    first: first ?? result.statistics,
  }
}

/** The rows of a step (from 1) in micro-batches. */
function batchOfStep({ rows, order, settings, objective }: TrainerParts, step: number): StepBatch {
  return stepBatch(
    Array.from(order.stepRows(step - 1), (index) => rows.row(index)),
    {
      capacity: settings.microBatchTokens,
      packing: settings.packing,
      normalization: objective.normalization,
    },
  )
}

/** Forward and backward of a step (from 1); undefined when the run was asked to stop meanwhile. */
async function stepResult(
  parts: TrainerParts,
  head: ObjectiveHead,
  step: number,
): Promise<StepResult | undefined> {
  const { policy, objective, settings, order, signal } = parts
  const oldLogprobs = head.needsOldLogprobs
    ? await parts.oldLogprobs!.ofStep(step, policy.decoder, (other) =>
        other <= order.steps ? batchOfStep(parts, other).microBatches : undefined,
      )
    : undefined
  return forwardBackward({
    policy,
    head,
    normalization: objective.normalization,
    batch: batchOfStep(parts, step),
    scalars: { progress: (step - 1) / order.steps, step, steps: order.steps },
    reference: parts.reference,
    oldLogprobs,
    seed: (microBatch) => hashSeed(settings.seed, step, microBatch),
    signal,
  })
}

/** Another number for every micro-batch of a run, the same in a resumed one. */
function hashSeed(seed: number, step: number, microBatch: number): number {
  return (Math.imul(seed + 1, 0x9e3779b1) + Math.imul(step, 0x85ebca6b) + microBatch) >>> 0
}

/** What is wrong with a step, naming the rows; undefined when all is finite. */
function nonfinite({ batch, loss, gradientNorm, statistics }: StepResult, step: number) {
  const what = Number.isFinite(loss) && Number.isFinite(statistics.nll) ? "gradient" : "loss"
  if (what === "gradient" && Number.isFinite(gradientNorm)) return undefined
  const rows = batch.microBatches.flatMap(({ rows }) => rows)
  const named = rows.slice(0, 8).map(({ source, line }) => `${source}:${line}`)
  const more = rows.length > named.length ? ` and ${rows.length - named.length} more` : ""
  return (
    `step ${step}: the ${what} is not a finite number (loss ${loss}, gradient norm ${gradientNorm}); ` +
    `its rows: ${named.join(", ")}${more}. Lower learning_rate, or look at these rows; ` +
    "the last checkpoint is untouched"
  )
}

function stepEvent(
  result: StepResult,
  {
    progress,
    order,
    rate,
    seconds,
  }: { progress: Progress; order: RunOrder; rate: number; seconds: number },
): Omit<StepEvent, "time"> {
  return {
    type: "step",
    step: progress.step,
    ...statisticsFields(result.statistics),
    loss: result.loss,
    grad_norm: result.gradientNorm,
    learning_rate: rate,
    epoch: order.epochAt(progress.step),
    tokens: progress.tokens,
    supervised_tokens: progress.supervisedTokens,
    tokens_per_second: result.batch.tokens / seconds,
    memory_bytes: process.memoryUsage.rss(),
  }
}

function abandoned(objective: Objective, { first }: Progress, now: TokenStatistics) {
  const keepsThem = keepsSpecialTokens(objective)
  return first ? abandonedTokensWarning({ first, now, keepsThem }) : undefined
}
