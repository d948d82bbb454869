import { randomUUID } from "node:crypto"
import { existsSync } from "node:fs"
import { open, rm } from "node:fs/promises"
import { dirname, join, resolve } from "node:path"
import { writeError } from "../formats/atomic.ts"
import { fileHash } from "../formats/index.ts"
import { peakMemory } from "../host/peak-memory.ts"
import { SIZES_KEPT } from "../models/decoder/compiled-blocks.ts"
import { compiledSize } from "../models/index.ts"
import { isOfPairs } from "../objectives/index.ts"
import { progressMeter } from "../report/progress.ts"
import { forwardBackward } from "./forward-backward.ts"
import { lossInputs, measuredInside } from "./loss-inputs.ts"
import { type MicroBatch, stepBatch } from "./micro-batches.ts"
import { runHead, storesReference } from "./objective-batches.ts"
import { CROSS_ENTROPY } from "./objective-head.ts"
import type { RunPlan } from "./plan.ts"
import { sampler } from "./samples.ts"
import type { Session } from "./session.ts"
import { splitGroups, splitRows } from "./split-rows.ts"
import { statisticsOf } from "./token-statistics.ts"

/** Seconds of a run by what they go into. */
export interface EstimatedParts {
  readonly load: number
  /** Of rollouts, with their rewards. */
  readonly sampling?: number
  readonly training: number
  readonly evaluation: number
  readonly samples: number
  readonly checkpoints: number
}

/** What a run will take, measured on some of its own micro-batches. */
export interface Estimate {
  /** The process's peak. */
  readonly memory_bytes: number
  /** From the start to the result, the rows prepared. */
  readonly seconds: number
  readonly parts: EstimatedParts
  readonly seconds_per_step: number
  /** Real tokens, while it trains. */
  readonly tokens_per_second: number
  readonly steps: number
}

/** Sizes of micro-batches that are timed, and the steps in which they are looked for. */
const TIMED = 6
const TIMED_STEPS = 16
/**
 * Steps shorter than this (seconds) are timed whole: work outside the micro-batches matters there.
 */
const WHOLE_STEP = 1
/**
 * Small models are measured for this long in all, so that what its run compiles once is behind it.
 */
const SECONDS = 4
const MOST_REPEATS = 20
/** Steps whose packing is looked at, spread over the run. */
const STEPS_LOOKED_AT = 256

/**
 * Seconds, from any beginning: of the wall, or of CPU time where a busy machine spoils the wall's.
 */
export type Clock = () => number

export const wallClock: Clock = () => performance.now() / 1000

export type Stopwatch = (work: () => Promise<unknown>) => Promise<number>

/** A stopwatch that starts no more work once `signal` has asked for the end. */
export const stopwatch =
  (clock: Clock, signal?: AbortSignal): Stopwatch =>
  async (work) => {
    signal?.throwIfAborted()
    const began = clock()
    await work()
    return clock() - began
  }

/**
 * Seconds of one more time, once it has become as fast as it gets: the median of the later half.
 */
export async function settledSeconds(
  seconds: Stopwatch,
  work: () => Promise<unknown>,
  enough: number,
): Promise<number> {
  const taken: number[] = []
  let spent = 0
  while (taken.length === 0 || (spent < enough && taken.length < MOST_REPEATS)) {
    taken.push(await seconds(work))
    spent += taken.at(-1)!
  }
  const later = taken.slice(Math.floor(taken.length / 2)).sort((a, b) => a - b)
  return later[Math.floor(later.length / 2)]!
}

/** What is measured, and how. */
export interface Measuring {
  /** What opening the session took, in seconds. */
  readonly load: number
  readonly clock: Clock
  readonly onProgress?: ((message: string) => void) | undefined
  readonly signal?: AbortSignal | undefined
  /** A model with fewer layers stands for the run's. */
  readonly miniature?: {
    /** Seconds that the whole model would take for a piece of work. */
    readonly seconds: Stopwatch
    /** Numbers that the run trains, to one of the miniature's. */
    readonly trained: number
  }
}

/** A session is measured whole; what stands for one is measured in a hurry. */
const CARE = { sizes: TIMED, seconds: SECONDS }
const HURRY = { sizes: 2, seconds: 1.5 }
/** What takes longer, in seconds, is timed once: compiling its graphs is a small part of it. */
const LONG = 30

/** Measures everything that a run does, at learning rate 0, and adds it up. */
export async function estimateRun(
  plan: RunPlan,
  session: Pick<Session, "policy" | "reference">,
  { load, clock, miniature, onProgress, signal }: Measuring,
): Promise<Estimate> {
  const seconds = miniature?.seconds ?? stopwatch(clock, signal)
  const { order } = plan
  const { steps } = order
  const { tokens, compiled, misses } = tokensAStep(plan)
  const cost = await trainingCost(plan, session, seconds, {
    ...(miniature ? HURRY : CARE),
    onProgress,
  })
  const trained = miniature?.trained ?? 1
  const summed = compiled * cost.perToken + trained * cost.update
  const isWhole = trained === 1 && summed <= WHOLE_STEP
  const again = isWhole ? await wholeStep(plan, session, seconds, summed) : summed
  const perStep = again + misses * cost.perSize
  const parts = {
    load,
    training: steps * perStep + cost.once + referenceTokens(plan) * cost.evaluatePerToken,
    evaluation: evaluationCount(plan) * evaluationTokens(plan) * cost.evaluatePerToken,
    samples: sampleCount(plan) * (await sampleSeconds(plan, session, seconds)),
    checkpoints: await checkpointSeconds(plan, seconds),
  }
  return {
    memory_bytes: peakMemory(),
    seconds: Object.values(parts).reduce((sum, part) => sum + part, 0),
    parts,
    seconds_per_step: perStep,
    tokens_per_second: tokens / perStep,
    steps,
  }
}

/**
 * Means over steps: tokens, computed tokens (padding included), and micro-batches of a size that
 * has to be compiled because it is not among the sizes used last.
 */
function tokensAStep({ batches, split, objective }: RunPlan) {
  const looked = Math.min(batches.steps, STEPS_LOOKED_AT)
  let kept: number[] = []
  let misses = 0
  let tokens = 0
  let compiled = 0
  for (let i = 0; i < looked; i++) {
    const step = 1 + Math.floor((i * batches.steps) / looked)
    const lengths = batches.lengths(step)
    tokens += lengths.reduce((sum, length) => sum + length, 0)
    const packs =
      split.together && isOfPairs(objective)
        ? splitGroups(batches.batch(step).rows, split).map((bin) => bin.map((one) => one.tokens))
        : splitRows(lengths, split).map((bin) => bin.map((row) => lengths[row]!))
    for (const parts of packs) {
      const size = compiledSize(parts.reduce((sum, part) => sum + part, 0))
      compiled += size
      if (!kept.includes(size)) misses += 1
      kept = [size, ...kept.filter((other) => other !== size)].slice(0, SIZES_KEPT)
    }
  }
  return { tokens: tokens / looked, compiled: compiled / looked, misses: misses / looked }
}

/** Tokens that are measured once with the reference, before the first step. */
function referenceTokens({ batches, objective, rows }: RunPlan): number {
  if (!storesReference(objective)) return 0
  const seen = new Set<number>()
  for (let step = 1; step <= batches.steps; step++)
    for (const index of batches.indices(step)) seen.add(index)
  return [...seen].reduce((sum, index) => sum + rows.lengths[index]!, 0)
}

/** The rows of a step (from 1) as the run splits them; what was not measured of them is 0. */
function batchOf({ batches, objective, split }: RunPlan, step: number) {
  const options = { ...split, normalization: objective.normalization }
  const batch = stepBatch(batches.batch(step).rows, options)
  const { columns = [] } = runHead(objective).settings
  const microBatches = batch.microBatches.map((one) =>
    columns.filter((name) => !name.startsWith("reduction_")).reduce(withZeros, one),
  )
  return { ...batch, microBatches }
}

/**
 * Seconds of a whole step once its sizes are compiled; `otherwise` where an old policy would be
 * needed.
 */
async function wholeStep(
  plan: RunPlan,
  { policy, reference }: Pick<Session, "policy" | "reference">,
  seconds: Stopwatch,
  otherwise: number,
): Promise<number> {
  const { objective, order } = plan
  const head = runHead(objective)
  if (head.needsOldLogprobs) return otherwise
  let step = 0
  const work = async () => {
    await forwardBackward({
      policy,
      head,
      normalization: objective.normalization,
      batch: batchOf(plan, 1 + (step++ % order.steps)),
      scalars: { progress: 0, step: 1, steps: order.steps, kl_step: 0 },
      reference,
      seed: (microBatch) => microBatch,
    })
    await policy.update({ step: 1, learningRate: 0, gradientScale: 1 })
  }
  return settledSeconds(seconds, work, SECONDS)
}

/** A micro-batch of each of some sizes, from the largest to the smallest of the first steps. */
function timedMicroBatches(plan: RunPlan, most: number): MicroBatch[] {
  const bySize = new Map<number, MicroBatch>()
  for (let step = 1; step <= Math.min(plan.order.steps, TIMED_STEPS); step++) {
    const { microBatches } = batchOf(plan, step)
    for (const each of microBatches) bySize.set(compiledSize(each.pack.tokenIds.length), each)
  }
  const sizes = [...bySize.keys()].sort((a, b) => b - a)
  const places = Array.from({ length: most }, (_, i) =>
    Math.round((i * (sizes.length - 1)) / (most - 1)),
  )
  return [...new Set(places)].map((place) => bySize.get(sizes[place]!)!)
}

/** With a column that takes part in the arithmetic alone: its numbers change no time. */
function withZeros(microBatch: MicroBatch, column: string): MicroBatch {
  if (microBatch.columns[column]) return microBatch
  const zeros = new Float32Array(microBatch.pack.labels.length)
  return { ...microBatch, columns: { ...microBatch.columns, [column]: zeros } }
}

/** Seconds of training, by what they grow with; everything runs once before it is timed. */
async function trainingCost(
  plan: RunPlan,
  { policy, reference }: Pick<Session, "policy" | "reference">,
  seconds: Stopwatch,
  { onProgress, ...effort }: typeof CARE & Pick<Measuring, "onProgress">,
) {
  const head = runHead(plan.objective)
  const { decoder } = policy
  const microBatches = timedMicroBatches(plan, effort.sizes)
  const scalars = { progress: 0, step: 1, steps: plan.order.steps, kl_step: 0 }
  const together = plan.split.together ?? false
  const known = { decoder, head, microBatches, scalars, reference, together }
  const inputs = await lossInputs(known)
  const inside = measuredInside(known)
  const update = async () => {
    await decoder.zeroGradients()
    await policy.squaredGradientNorm()
    await policy.update({ step: 1, learningRate: 0, gradientScale: 1 })
  }
  const total = { tokens: 0, train: 0, evaluate: 0, first: 0 }
  const compile: number[] = []
  const meter = progressMeter("measuring a step", { unit: "micro-batches" })
  for (const [i, microBatch] of microBatches.entries()) {
    onProgress?.(meter(i, microBatches.length))
    const { pack } = microBatch
    const train = async () => {
      const outputs = await decoder.train(pack, head.settings, await inputs(microBatch))
      statisticsOf(outputs, microBatch.columns.token_class)
    }
    const evaluate = () => decoder.evaluate(pack, CROSS_ENTROPY)
    const first = await seconds(train)
    const settled = async (work: () => Promise<unknown>) =>
      settledSeconds(seconds, work, effort.seconds / microBatches.length)
    const isLong = first > LONG
    const again = isLong ? first : await settled(train)
    if (!isLong) await evaluate()
    total.tokens += compiledSize(pack.tokenIds.length)
    total.train += again
    compile.push(Math.max(0, first - again))
    const forward = await (isLong ? seconds(evaluate) : settled(evaluate))
    total.evaluate += forward
    if (head.firstPass && !inside.has(microBatch)) total.first += forward
  }
  const firstUpdate = await seconds(update)
  const laterUpdate = await seconds(update)
  // The largest comes first, so what is new to it beside its graphs is the memory: that comes once.
  const [largest, ...others] = compile as [number, ...number[]]
  const perSize = others.reduce((sum, each) => sum + each, 0) / Math.max(1, others.length)
  // An old policy's numbers, and KTO's answers to other prompts, are forward passes of their own.
  // And where a mixture sends a step's tokens is counted before.
  const counts = decoder.routerAuxLossCoef > 0
  const forwards = [head.needsOldLogprobs, head.needsKlStep, counts].filter(Boolean).length
  return {
    perToken: (total.train + total.first + forwards * total.evaluate) / total.tokens,
    evaluatePerToken: total.evaluate / total.tokens,
    perSize,
    update: laterUpdate,
    once: Math.max(0, largest - perSize) + Math.max(0, firstUpdate - laterUpdate),
  }
}

/** How often something happens that is done every `every` steps and at the end. */
function occasions(steps: number, every: number): number {
  if (every === 0) return 1
  return Math.floor(steps / every) + (steps % every === 0 ? 0 : 1)
}

function evaluationTokens({ evalSets }: RunPlan): number {
  let tokens = 0
  for (const { rows } of evalSets) {
    for (const length of rows.lengths) tokens += compiledSize(length)
  }
  return tokens
}

/** At the start too. */
export const evaluationCount = ({ order, config }: RunPlan) =>
  1 + occasions(order.steps, config.eval_steps)

function sampleCount({ order, config }: RunPlan): number {
  const { generate_samples } = config
  return generate_samples ? 1 + occasions(order.steps, generate_samples.every) : 0
}

/** Of one generation of all prompts, each going on to its last token. */
async function sampleSeconds(
  plan: RunPlan,
  { policy }: Pick<Session, "policy">,
  seconds: Stopwatch,
): Promise<number> {
  const settings = plan.config.generate_samples
  if (!settings) return 0
  const time = async (max_new_tokens: number) => {
    const config = { ...plan.config, generate_samples: { ...settings, max_new_tokens } }
    const sample = await sampler({ ...plan, config }, policy)
    return seconds(async () => {
      for await (const _ of sample!(0));
    })
  }
  const some = Math.min(9, settings.max_new_tokens)
  await time(some)
  const [one, several] = [await time(1), await time(some)]
  const perToken = some > 1 ? Math.max(0, several - one) / (some - 1) : 0
  return one + perToken * (settings.max_new_tokens - 1)
}

export const checkpointSeconds = async (plan: RunPlan, seconds: Stopwatch) =>
  checkpointBytes(plan) / (await speedAt(plan.config.output_dir, seconds))

/** Of all checkpoints that are written: what is trained and its two moments, and the result. */
function checkpointBytes({ order, config, memory }: RunPlan): number {
  const { save_steps } = config
  const count = save_steps > 0 ? Math.floor((order.steps - 1) / save_steps) : 0
  return count * (memory.gradients + memory.moments) + memory.gradients
}

const SAMPLE_BYTES = 32e6
/** Written at once: the sample is no part of the memory that is told. */
const PIECE_BYTES = 1e6

/** Where the run will be. @throws InputError where nothing can be written */
async function speedAt(outputDir: string, seconds: Stopwatch): Promise<number> {
  let folder = resolve(outputDir)
  while (!existsSync(folder)) folder = dirname(folder)
  try {
    return await writingSpeed(folder, seconds)
  } catch (error) {
    throw writeError(error, outputDir)
  }
}

/** Bytes a second of writing, flushing and hashing. */
async function writingSpeed(folder: string, seconds: Stopwatch): Promise<number> {
  const path = join(folder, `.probe-${randomUUID()}`)
  try {
    const taken = await seconds(async () => {
      const file = await open(path, "w")
      const piece = new Uint8Array(PIECE_BYTES).fill(1)
      for (let done = 0; done < SAMPLE_BYTES; done += PIECE_BYTES) await file.write(piece)
      await file.sync()
      await file.close()
      await fileHash(path)
    })
    return SAMPLE_BYTES / taken
  } finally {
    await rm(path, { force: true })
  }
}
