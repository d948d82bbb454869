import type { RunOrder } from "../data/order.ts"
import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { LossInputs, Reference, TokenOutputs } from "../models/index.ts"
import type { Objective } from "../objectives/index.ts"
import { clipScale, learningRate, type ScheduleName, warmupSteps } from "../optim/index.ts"
import { InputError } from "../run/errors.ts"
import type { RunEvent, StepEvent } from "../run/events.ts"
import { abandonedTokensWarning } from "./abandoned-tokens.ts"
import { divisor, type MicroBatch, type StepBatch, stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY, type ObjectiveHead, objectiveHead } from "./objective-head.ts"
import type { Policy } from "./policy.ts"
import {
  addStatistics,
  histogramFields,
  NO_TOKENS,
  statisticsFields,
  type TokenStatistics,
  tokenStatistics,
} from "./token-statistics.ts"

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

export interface EvalSet {
  readonly name: string
  readonly rows: Prepared
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
  /** Writes a checkpoint and returns its path. */
  readonly save: (progress: Progress) => Promise<string>
  readonly sample?: (step: number) => AsyncIterable<EventBody>
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

interface StepResult {
  readonly batch: StepBatch
  readonly statistics: TokenStatistics
  /** The normalised value of the objective. */
  readonly loss: number
  readonly divisor: number
  /** Of the normalised gradient, before clipping. */
  readonly gradientNorm: number
}

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
  if (start.step === 0) yield* evaluations(parts, head, progress)

  while (progress.step < order.steps) {
    if (signal?.aborted) {
      if (saved < progress.step) yield checkpoint(await parts.save(progress), progress)
      return { progress, reason: "interrupted" }
    }
    const began = performance.now()
    const step = progress.step + 1
    const result = await forwardBackward(parts, head, step)
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
      const clip = clipScale(result.gradientNorm, settings.maxGradNorm)
      await policy.update({ step, learningRate: rate, gradientScale: clip / result.divisor })
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
      yield* evaluations(parts, head, progress)
    }
    if (parts.sample && settings.sampleSteps && (last || step % settings.sampleSteps === 0)) {
      yield* parts.sample(step)
    }
    if (!last && settings.saveSteps > 0 && step % settings.saveSteps === 0) {
      yield checkpoint(await parts.save(progress), progress)
      saved = step
    }
  }
  return { progress, reason: "done" }
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

/** Gradients of one step's rows, summed over its micro-batches. */
async function forwardBackward(
  parts: TrainerParts,
  head: ObjectiveHead,
  step: number,
): Promise<StepResult> {
  const { policy, objective, settings, order } = parts
  const { normalization } = objective
  const batch = stepBatch(
    Array.from(order.stepRows(step - 1), (index) => parts.rows.row(index)),
    { capacity: settings.microBatchTokens, packing: settings.packing, normalization },
  )
  const scalars = { progress: (step - 1) / order.steps, step, steps: order.steps }
  const inputs = await lossInputs(parts, head, batch, scalars)

  await policy.decoder.zeroGradients()
  let statistics = NO_TOKENS
  let loss = 0
  for (const [i, microBatch] of batch.microBatches.entries()) {
    const seed = hashSeed(settings.seed, step, i)
    const outputs = await policy.decoder.train(
      microBatch.pack,
      head.settings,
      await inputs(microBatch, i),
      seed,
    )
    statistics = addStatistics(statistics, statisticsOf(outputs, microBatch))
    outputs.loss?.forEach((value, token) => {
      loss += value * microBatch.scale[token]!
    })
  }
  // Without any weight there is no gradient either: dividing by one leaves it so.
  const divided = divisor(normalization, batch, statistics.weight) || 1
  const norm = Math.sqrt(await policy.squaredGradientNorm()) / Math.abs(divided)
  return { batch, statistics, loss: loss / divided, divisor: divided, gradientNorm: norm }
}

function statisticsOf(outputs: TokenOutputs, { tokenClass }: MicroBatch): TokenStatistics {
  const { logp, loss, weight, correct, entropy, kl_ref } = outputs
  if (!logp) return NO_TOKENS
  return tokenStatistics({
    logp,
    loss: loss!,
    weight: weight!,
    correct: correct!,
    entropy: entropy!,
    tokenClass,
    ...(kl_ref ? { klRef: kl_ref } : {}),
  })
}

type InputsOf = (microBatch: MicroBatch, index: number) => Promise<LossInputs>

/** What the objective is fed beside the policy's own numbers, micro-batch by micro-batch. */
async function lossInputs(
  parts: TrainerParts,
  head: ObjectiveHead,
  batch: StepBatch,
  scalars: Readonly<Record<string, number>>,
): Promise<InputsOf> {
  const referenceOf = async (microBatch: MicroBatch) =>
    head.needsReference ? { reference: await parts.reference!(microBatch) } : {}
  const columnsOf = ({ tokenClass }: MicroBatch) => ({
    token_class: Float32Array.from(tokenClass),
  })
  if (!head.firstPass) {
    return async (microBatch) => ({
      scale: microBatch.scale,
      scalars,
      columns: columnsOf(microBatch),
      ...(await referenceOf(microBatch)),
    })
  }

  const measured: TokenOutputs[] = []
  for (const microBatch of batch.microBatches) {
    const inputs = { scalars, ...(await referenceOf(microBatch)) }
    measured.push(await parts.policy.decoder.evaluate(microBatch.pack, head.firstPass, inputs))
  }
  const reduced = head.reduced(
    joined(measured),
    joined(batch.microBatches.map(columnsOf)),
    scalars,
    Int32Array.from(batch.microBatches.flatMap(({ sequences }) => [...sequences])),
  )
  return async (microBatch, index) => {
    const before = batch.microBatches.slice(0, index)
    const start = before.reduce((sum, { pack }) => sum + pack.labels.length, 0)
    const part = (values: Float32Array) =>
      values.slice(start, start + microBatch.pack.labels.length)
    const own = Object.entries(reduced).map(([name, values]) => [name, part(values)] as const)
    return {
      scale: microBatch.scale,
      scalars,
      columns: { ...columnsOf(microBatch), ...Object.fromEntries(own) },
      ...(await referenceOf(microBatch)),
    }
  }
}

/** Columns of several micro-batches one after the other. */
function joined(columns: readonly TokenOutputs[]): Record<string, Float32Array> {
  const names = new Set(columns.flatMap((column) => Object.keys(column)))
  return Object.fromEntries(
    [...names].map((name) => [
      name,
      Float32Array.from(columns.flatMap((column) => [...(column[name] ?? [])])),
    ]),
  )
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
  const { keep_special, weight_floor } = objective.parameters
  const keepsThem =
    objective.name === "sft" || keep_special === true || Number(weight_floor ?? 0) > 0
  return first ? abandonedTokensWarning({ first, now, keepsThem }) : undefined
}

/** Each eval set's cross-entropy, the objective's value there, and its histogram. */
async function* evaluations(
  parts: TrainerParts,
  head: ObjectiveHead,
  { step }: Progress,
): AsyncGenerator<EventBody> {
  for (const { name, rows } of parts.evalSets) {
    if (parts.signal?.aborted) return
    const statistics = await evaluateRows(parts, head, rows, step)
    const { nll, loss, mean_p } = statisticsFields(statistics)
    const value = head.firstPass ? {} : { loss }
    yield {
      type: "eval",
      step,
      name,
      nll,
      mean_p,
      ...value,
      supervised_tokens: statistics.count,
    }
    yield { type: "histogram", step, name, ...histogramFields(statistics) }
  }
}

const EVAL_ROWS = 64

async function evaluateRows(
  { policy, objective, settings, order, reference }: TrainerParts,
  head: ObjectiveHead,
  rows: Prepared,
  step: number,
): Promise<TokenStatistics> {
  const { steps } = order
  const scalars = { progress: step / steps, step: Math.max(1, step), steps }
  // What couples the tokens of a training step has no meaning here: cross-entropy alone then.
  const own = head.firstPass ? CROSS_ENTROPY : head.settings
  let statistics = NO_TOKENS
  for (const microBatch of rowBatches(rows, settings, objective)) {
    const outputs = await policy.decoder.evaluate(microBatch.pack, own, {
      scalars,
      columns: { token_class: Float32Array.from(microBatch.tokenClass) },
      ...(own.reference ? { reference: await reference!(microBatch) } : {}),
    })
    statistics = addStatistics(statistics, statisticsOf(outputs, microBatch))
  }
  return statistics
}

function* rowBatches(
  rows: Prepared,
  { microBatchTokens, packing }: TrainerSettings,
  { normalization }: Objective,
): Generator<MicroBatch> {
  for (let start = 0; start < rows.rows; start += EVAL_ROWS) {
    const length = Math.min(EVAL_ROWS, rows.rows - start)
    const part: PreparedRow[] = Array.from({ length }, (_, i) => rows.row(start + i))
    yield* stepBatch(part, { capacity: microBatchTokens, packing, normalization }).microBatches
  }
}
