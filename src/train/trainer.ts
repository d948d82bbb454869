import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import type { Reference } from "../models/index.ts"
import { isOfPairs, type Objective } from "../objectives/index.ts"
import { learningRate, warmupSteps } from "../optim/index.ts"
import { progressMeter } from "../report/progress.ts"
import type { EventBody, StepEvent } from "../run/events.ts"
import type { Precision } from "../runtime/index.ts"
import type { BatchSource, StepRows } from "./batches.ts"
import { type Best, type BestSettings, hasWaited, judged, stoppedEarly } from "./best-step.ts"
import { forwardBackward, gradientScale, type StepResult } from "./forward-backward.ts"
import { type EvalSet, type EvaluationParts, evaluations } from "./held-out-loss.ts"
import { klStep } from "./kl-step.ts"
import { type MicroBatch, type StepBatchOptions, stepBatch } from "./micro-batches.ts"
import { type ObjectiveHead, objectiveHead } from "./objective-head.ts"
import type { OldLogprobs } from "./old-logprobs.ts"
import type { Policy } from "./policy.ts"
import { checkReference } from "./reference-check.ts"
import { SourceLosses, type SourceNames } from "./source-losses.ts"
import type { SplitOptions } from "./split-rows.ts"
import { measureFields, outcomesOf, pairFields } from "./step-outcomes.ts"
import { histogramFields, statisticsFields } from "./token-statistics.ts"

/** The run's settings that the loop reads, as the config names them. */
export type TrainerSettings = Pick<
  Config,
  | "learning_rate"
  | "lr_scheduler"
  | "warmup_ratio"
  | "max_grad_norm"
  | "seed"
  | "on_nonfinite"
  | "save_steps"
  | "eval_steps"
  | "generate_samples"
> &
  Partial<Pick<Config, "warmup_steps" | "lr_scheduler_kwargs">> &
  Partial<BestSettings>

/** What the loop works with; everything that touches the disk or another model is given to it. */
export interface TrainerParts {
  readonly policy: Policy
  readonly objective: Objective
  readonly batches: BatchSource
  /** How a step's rows become micro-batches. */
  readonly split: SplitOptions
  readonly evalSets: readonly EvalSet[]
  /** Of a run that samples: the samples' distribution, and the longest that one may be. */
  readonly temperature?: number
  readonly maxTokens?: number
  readonly settings: TrainerSettings
  /** `ref_logp` comes with the rows: it was measured before. */
  readonly storedReference?: boolean
  /** The reference is the run's own start: the first step's loss is known. */
  readonly referenceIsStart?: boolean
  /** Of the model's products; float32 if left out. */
  readonly precision?: Precision
  /** The frozen model of objectives that have one. */
  readonly reference?: (microBatch: MicroBatch) => Promise<Reference>
  /** For objectives that compare with an earlier policy. */
  readonly oldLogprobs?: OldLogprobs
  /** What the run holds of the machine's memory now. */
  readonly memoryBytes: () => number
  /** Writes a checkpoint and returns its path. */
  readonly save: (progress: Progress) => Promise<string>
  /** What else is evaluated, at the same steps. */
  readonly evaluate?: (step: number) => AsyncIterable<EventBody>
  /** Of the run's files, where losses are told by source. */
  readonly sourceNames?: SourceNames
  readonly sample?: (step: number, signal?: AbortSignal) => AsyncIterable<EventBody>
  /** What is being done between two events, for people. */
  readonly onProgress?: (message: string) => void
  readonly signal?: AbortSignal
}

/** How far a run is: with the weights and moments, all that a resumed run needs. */
export interface Progress {
  readonly step: number
  readonly tokens: number
  readonly supervisedTokens: number
  /** Steps whose loss or gradient was no number, and that changed nothing. */
  readonly skipped?: number
  /** Of the evaluations, where the settings ask for it. */
  readonly best?: Best
}

export const START: Progress = { step: 0, tokens: 0, supervisedTokens: 0 }

/**
 * The training loop: forward, backward and update until the steps are done or `signal` asks to
 * stop, which it does after a checkpoint. Yields what happens; returns how far it came and why it
 * ended.
 *
 * @throws InputError when the loss or a gradient is not finite and the settings say stop
 */
export async function* trainSteps(
  parts: TrainerParts,
  start: Progress = START,
): AsyncGenerator<EventBody, { progress: Progress; reason: "done" | "interrupted" }> {
  const { policy, batches, settings, signal } = parts
  const { steps } = batches
  const { storedReference = false, referenceIsStart = false } = parts
  const { temperature = 1 } = parts
  const head = objectiveHead(parts.objective, { storedReference, temperature })
  const rateAt = learningRates(steps, settings)
  let progress = start
  let saved = start.step
  if (start.step === 0) {
    yield* evaluated(parts, head, 0)
    if (parts.sample && settings.generate_samples) yield* parts.sample(0, signal)
  }

  while (progress.step < steps) {
    if (signal?.aborted) {
      if (saved < progress.step) yield checkpoint(await parts.save(progress), progress)
      return { progress, reason: "interrupted" }
    }
    const step = progress.step + 1
    const taken = await batches.batch(step)
    if (!taken) continue // asked to stop in the middle of it
    yield* taken.events ?? []
    if (taken.over) {
      yield* evaluated(parts, head, progress.step)
      break
    }
    if (taken.rows.length === 0) continue
    const began = performance.now()
    const sources = sourceLosses(parts)
    const result = await stepResult(parts, head, step, taken, sources)
    if (!result) continue
    if (step === 1 && referenceIsStart) checkReference(head, result, parts.precision ?? "fp32")
    const problem = nonfinite(result, step)
    if (problem && settings.on_nonfinite === "stop") throw new InputError(problem)

    const rate = rateAt(step)
    if (problem) yield skippedStep(step, problem)
    else {
      const scale = gradientScale(result, settings.max_grad_norm)
      await policy.update({ step, learningRate: rate, gradientScale: scale })
    }
    progress = advance(progress, step, result, problem !== undefined)
    const seconds = (performance.now() - began) / 1000
    const [epoch, memoryBytes] = [batches.epochAt(step), parts.memoryBytes()]
    yield {
      ...stepEvent(result, { progress, epoch, rate, seconds, memoryBytes }, head),
      ...outcomeFields(parts.objective, head, result),
      ...sources?.fields(),
    }
    yield { type: "histogram", step, name: "train", ...histogramFields(result.statistics) }

    const last = step === steps
    let isOver = false
    if (last || (settings.eval_steps > 0 && step % settings.eval_steps === 0)) {
      const before = progress.best
      progress = yield* judged(settings, progress, evaluated(parts, head, step))
      const { best } = progress
      if (settings.load_best_model_at_end && best?.step === step && best !== before && !last) {
        yield checkpoint(await parts.save(progress), progress)
        saved = step
      }
      isOver = !last && hasWaited(best, settings)
    }
    const every = settings.generate_samples?.every
    if (parts.sample && every && (last || step % every === 0)) {
      const { sample } = parts
      yield* averaged(parts, () => sample(step, signal))
    }
    if (isOver) {
      yield stoppedEarly(step, progress.best!, settings)
      break
    }
    const saves = !last && settings.save_steps > 0 && step % settings.save_steps === 0
    if (saves && saved < step) {
      yield checkpoint(await parts.save(progress), progress)
      saved = step
    }
  }
  if (progress.skipped === steps) throw nothingLearnt(steps)
  return { progress, reason: "done" }
}

/** The learning rate of each step of a run. */
function learningRates(
  steps: number,
  settings: TrainerParts["settings"],
): (step: number) => number {
  const warmup = warmupSteps(steps, settings)
  return (step) =>
    learningRate({
      schedule: settings.lr_scheduler,
      options: settings.lr_scheduler_kwargs,
      peak: settings.learning_rate,
      warmupSteps: warmup,
      steps,
      step,
    })
}

const skippedStep = (step: number, problem: string): EventBody => ({
  type: "warning",
  step,
  code: "skipped-step",
  message: problem,
  hint: "the weights were left as they were; on_nonfinite: stop ends the run here instead",
})

const nothingLearnt = (steps: number) =>
  new InputError(
    `all ${steps} steps were skipped: no loss or gradient was a finite number, so nothing was learnt and no model is written. ` +
      "Look at the first warning's rows, at the base model's weights, or lower learning_rate",
  )

/** Tells of a step of several micro-batches. */
function stepMeter(step: number, steps: number, onProgress: (message: string) => void) {
  const meter = progressMeter(`step ${step} of ${steps}`, { unit: "micro-batches" })
  return (done: number, all: number) => {
    if (all > 1) onProgress(meter(done, all))
  }
}

/** Of supervised rows of several files. */
function sourceLosses({ sourceNames, objective }: TrainerParts): SourceLosses | undefined {
  if (sourceNames === undefined || objective.trainsOn !== "targets") return undefined
  return new SourceLosses(sourceNames)
}

async function* evaluated(
  parts: TrainerParts,
  head: ObjectiveHead,
  step: number,
): AsyncGenerator<EventBody> {
  yield* averaged(parts, async function* () {
    yield* evaluations(evaluationParts(parts, head), step)
    if (parts.evaluate) yield* parts.evaluate(step)
  })
}

/** What a run says of its model it says of the average of its weights, where it keeps one. */
async function* averaged(
  { policy }: TrainerParts,
  events: () => AsyncIterable<EventBody>,
): AsyncGenerator<EventBody> {
  policy.exchangeAverage()
  try {
    yield* events()
  } finally {
    policy.exchangeAverage()
  }
}

function evaluationParts(parts: TrainerParts, head: ObjectiveHead): EvaluationParts {
  const { policy, evalSets, batches, objective, reference, signal } = parts
  return {
    decoder: policy.decoder,
    head,
    evalSets,
    steps: batches.steps,
    batch: batchOptions(parts),
    paired: isOfPairs(objective),
    ...(parts.sourceNames ? { sourceNames: parts.sourceNames } : {}),
    ...(parts.onProgress ? { onProgress: parts.onProgress } : {}),
    ...(reference ? { reference } : {}),
    ...(signal ? { signal } : {}),
  }
}

const checkpoint = (path: string, { step }: Progress): EventBody => ({
  type: "checkpoint",
  step,
  path,
})

function advance(
  progress: Progress,
  step: number,
  result: StepResult,
  isSkipped: boolean,
): Progress {
  const skipped = (progress.skipped ?? 0) + (isSkipped ? 1 : 0)
  return {
    ...(skipped > 0 ? { skipped } : {}),
    ...(progress.best ? { best: progress.best } : {}),
    step,
    tokens: progress.tokens + result.batch.tokens,
    supervisedTokens: progress.supervisedTokens + result.batch.supervisedTokens,
  }
}

const batchOptions = ({ split, objective, maxTokens }: TrainerParts): StepBatchOptions => ({
  ...split,
  normalization: objective.normalization,
  ...(maxTokens === undefined ? {} : { maxTokens }),
})

/** Forward and backward of a step (from 1); undefined when the run was asked to stop meanwhile. */
async function stepResult(
  parts: TrainerParts,
  head: ObjectiveHead,
  step: number,
  { rows, scalars, mismatched }: StepRows,
  sources: SourceLosses | undefined,
): Promise<StepResult | undefined> {
  const { policy, objective, settings, batches, signal } = parts
  const batch = stepBatch(rows, batchOptions(parts))
  const kl = mismatched ? { kl_step: await klStep(policy.decoder, mismatched, parts) } : {}
  return forwardBackward({
    policy,
    head,
    normalization: objective.normalization,
    batch: parts.oldLogprobs ? await parts.oldLogprobs.inBatch(step, batch, policy.decoder) : batch,
    scalars: {
      ...scalars,
      ...kl,
      progress: (step - 1) / batches.steps,
      step,
      steps: batches.steps,
    },
    reference: parts.reference,
    seed: (microBatch) => hashSeed(settings.seed, step, microBatch),
    sources,
    ...(parts.onProgress ? { onMicroBatch: stepMeter(step, batches.steps, parts.onProgress) } : {}),
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
    "the weights were left as they were before this step"
  )
}

function stepEvent(
  result: StepResult,
  {
    progress,
    epoch,
    rate,
    seconds,
    memoryBytes,
  }: { progress: Progress; epoch: number; rate: number; seconds: number; memoryBytes: number },
  { paired }: ObjectiveHead,
): Omit<StepEvent, "time"> {
  const { mean_weight, effective_tokens, ...told } = statisticsFields(result.statistics)
  return {
    type: "step",
    step: progress.step,
    ...told,
    // weights of both sides cancel: neither says anything of pairs
    ...(paired ? {} : { mean_weight, effective_tokens }),
    loss: result.loss,
    ...(result.auxLoss === undefined ? {} : { aux_loss: result.auxLoss }),
    grad_norm: result.gradientNorm,
    learning_rate: rate,
    epoch,
    tokens: progress.tokens,
    supervised_tokens: progress.supervisedTokens,
    tokens_per_second: result.batch.tokens / seconds,
    memory_bytes: memoryBytes,
  }
}

/** What the objective tells beside its loss. */
function outcomeFields(objective: Objective, head: ObjectiveHead, { columns }: StepResult) {
  if (!columns) return {}
  const measured = head.measured(columns)
  const outcomes = outcomesOf(columns, measured)
  const { kl_step } = columns.scalars
  return {
    ...measureFields(measured),
    ...(outcomes.length > 0 ? pairFields(outcomes, isOfPairs(objective)) : {}),
    ...(kl_step === undefined ? {} : { kl_step }),
  }
}
