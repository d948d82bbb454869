/** The steps of a run that samples: rollouts are made when they are needed, and used up. */

import type { RunOrder } from "../../data/order.ts"
import type { DataPrompt } from "../../data/prompts.ts"
import type { TensorToWrite } from "../../formats/index.ts"
import type { SampleSource } from "../../generate/sample-source.ts"
import type { AdvantageRule } from "../../objectives/index.ts"
import { randomStream } from "../../random.ts"
import type { Scoring } from "../../rewards/index.ts"
import type { EventBody } from "../../run/events.ts"
import type { HostTensor } from "../../runtime/index.ts"
import type { BatchSource, StepRow, StepRows } from "../batches.ts"
import type { SequenceOutputs } from "../sequence-logprobs.ts"
import { advantages, allEqual } from "./advantages.ts"
import {
  type Rollout,
  type RolloutRow,
  type RolloutSample,
  sampledRow,
  type TokenMarks,
  trainedRow,
} from "./rollout.ts"
import { groupsOf, rolloutEvent } from "./rollout-event.ts"
import type { ToldRollout } from "./rollout-file.ts"
import { ROLLOUTS_BEGIN, type RolloutProgress, savedState, stateTensors } from "./rollout-state.ts"
import { checkSampler, outcomeOf, teaches, type Watched } from "./rollout-watch.ts"
import { rewardedGroups, type SamplingSettings } from "./sampling.ts"

export interface RolloutSettings extends SamplingSettings {
  readonly promptsPerRollout: number
  /** Sequences a step. */
  readonly batchSize: number
  readonly num_iterations: number
  readonly filter_groups: "none" | "drop" | "resample"
  readonly max_resamples: number
  readonly kl_in_reward: number
  readonly importance_cap: number
  /** The objective weighs tokens by what the sampler had. */
  readonly weighsSampler: boolean
  readonly rule: AdvantageRule
  /**
   * HPT's: a prompt whose share of rewarded samples is at most this is learnt from its demonstration
   * alone, another from its samples alone.
   */
  readonly gate?: number
}

export interface RolloutParts {
  readonly prompts: readonly DataPrompt[]
  readonly steps: number
  /** Prompts one by one, epoch after epoch. */
  readonly order: Pick<RunOrder, "stepRows" | "rowsPerEpoch">
  readonly settings: RolloutSettings
  readonly source: SampleSource
  readonly scoring: Scoring
  readonly marks: TokenMarks
  readonly watch: Pick<Watched, "stops" | "tokenText">
  /** A prompt's text. */
  readonly decode: (tokenIds: Int32Array) => string
  /** Under the policy as it is now. */
  readonly measure: (rows: readonly StepRow[]) => Promise<SequenceOutputs[]>
  /** Under the reference, for objectives and rewards that compare with one. */
  readonly reference?: ((rows: readonly StepRow[]) => Promise<Float32Array[]>) | undefined
  /** A checkpoint's tensors. */
  readonly saved?: ReadonlyMap<string, HostTensor> | undefined
  /** Told of each rollout before it is trained. */
  readonly onRollout?: ((rollout: ToldRollout) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface RolloutBatches extends BatchSource {
  /** For a checkpoint after `step` steps. */
  tensorsAfter(step: number): TensorToWrite[]
}

export function rolloutBatches(parts: RolloutParts): RolloutBatches {
  const { prompts, order, settings, marks, signal } = parts
  const saved = parts.saved && savedState(parts.saved)
  let progress: RolloutProgress = saved?.progress ?? ROLLOUTS_BEGIN
  let rollout: Rollout | undefined = saved?.rollout
  let failure: Error | undefined

  const lastStep = ({ firstStep, rows }: Rollout) =>
    firstStep + settings.num_iterations * stepsOfPass(groupsOf(rows).size, settings) - 1

  /** Makes the next rollout; its events, and whether the run is over. */
  const next = async (step: number): Promise<StepRows> => {
    const made = await madeRollout(parts, progress, step)
    const outcome = outcomeOf(made.progress, { ...parts.watch, ...watchedOf(parts, made, step) })
    progress = outcome.progress
    failure = outcome.failure
    rollout = teaches(made.rows) && !outcome.over ? { ...made, firstStep: step } : undefined
    tell(parts, made, step)
    const warnings = outcome.warnings.map(
      (warning): EventBody => ({ type: "warning", step: step - 1, ...warning }),
    )
    const events = [made.event, ...sampleEvents(parts, made, step), ...warnings]
    if (rollout === undefined) return { rows: [], events, ...(outcome.over ? { over: true } : {}) }
    return { rows: rowsAt(rollout, step), events }
  }

  const rowsAt = (current: Rollout, step: number): StepRow[] => {
    const { number, rows, firstStep } = current
    const perPass = stepsOfPass(groupsOf(rows).size, settings)
    const [iteration, part] = [
      Math.floor((step - firstStep) / perPass),
      (step - firstStep) % perPass,
    ]
    const shuffled = passOrder(rows, settings.seed, { rollout: number, iteration })
    const groups = groupsOfStep(settings)
    return shuffled
      .slice(part * groups, (part + 1) * groups)
      .flat()
      .map((row) => trainedRow(prompts[row.prompt]!, row, marks))
  }

  return {
    steps: parts.steps,
    async batch(step) {
      if (failure) throw failure
      if (rollout && step <= lastStep(rollout)) return { rows: rowsAt(rollout, step) }
      try {
        return await next(step)
      } catch (error) {
        if (signal?.aborted) return undefined
        throw error
      }
    },
    epochAt: () => progress.cursor / order.rowsPerEpoch,
    tensorsAfter(step) {
      const left = rollout && step < lastStep(rollout) ? rollout : undefined
      return stateTensors(progress, left)
    },
  }
}

const groupsOfStep = ({ batchSize, num_generations }: RolloutSettings) =>
  batchSize / num_generations
const stepsOfPass = (groups: number, settings: RolloutSettings) =>
  Math.ceil(groups / groupsOfStep(settings))

/** Whole groups in the order of a pass: another for each rollout and pass, the same when made again. */
function passOrder(
  rows: readonly RolloutRow[],
  seed: number,
  { rollout, iteration }: { readonly rollout: number; readonly iteration: number },
): RolloutRow[][] {
  const random = randomStream(seed, `rollout ${rollout} iteration ${iteration}`)
  const groups = [...groupsOf(rows).values()]
  const keyed = groups.map((group) => ({ group, key: random() }))
  return keyed.sort((a, b) => a.key - b.key).map(({ group }) => group)
}

function tell({ onRollout }: RolloutParts, { number, sampled, rows }: Made, step: number): void {
  const advantage = new Map(rows.map((row) => [placeOf(row), row.advantage]))
  const samples = sampled.map((sample) => {
    return { ...sample, advantage: advantage.get(placeOf(sample)) ?? null }
  })
  onRollout?.({ number, policyStep: step - 1, samples })
}

const placeOf = ({ group, sampleIndex }: RolloutSample) => `${group}:${sampleIndex}`

/** Rollouts of a run of which samples are told, about. */
const TOLD = 10

/** The best and the worst sample of a rollout's first group, of some rollouts. */
function sampleEvents(parts: RolloutParts, { number, rows }: Made, step: number): EventBody[] {
  const { settings, prompts, watch } = parts
  const perRollout = settings.num_iterations * stepsOfPass(settings.promptsPerRollout, settings)
  const every = Math.max(1, Math.floor(parts.steps / perRollout / TOLD))
  const [first] = groupsOf(rows).values()
  if (number % every !== 0 || !first) return []
  const ranked = first.toSorted((a, b) => b.advantage - a.advantage)
  return [...new Set([ranked[0]!, ranked.at(-1)!])].map((row) => ({
    type: "sample",
    step: step - 1,
    prompt: parts.decode(prompts[row.prompt]!.tokenIds),
    completion: row.completion,
    tokens: row.tokenIds.map(watch.tokenText),
    probabilities: [...row.samplingLogp].map(Math.exp),
    reward: row.reward,
    rewards: row.rewards,
    advantage: row.advantage,
    finish_reason: row.finishReason,
  }))
}

interface Made {
  readonly number: number
  readonly progress: RolloutProgress
  readonly sampled: readonly RolloutSample[]
  readonly rows: readonly RolloutRow[]
  readonly event: EventBody
}

const watchedOf = (
  { prompts, settings }: RolloutParts,
  { sampled, rows }: Made,
  step: number,
): Omit<Watched, "stops" | "tokenText"> => ({
  sampled: sampled.filter(({ expert }) => !expert),
  rows,
  prompts,
  maxNewTokens: settings.max_new_tokens,
  updated: step > 1,
})

async function madeRollout(
  parts: RolloutParts,
  progress: RolloutProgress,
  step: number,
): Promise<Made> {
  const { settings, scoring } = parts
  const began = performance.now()
  const { sampled, kept, cursor, resampled } = await sampledGroups(parts, progress)
  const seconds = (performance.now() - began) / 1000
  const { rows, entropies } = await measuredRows(parts, kept)
  if (progress.number === 0) checkSampler(rows)
  const event = rolloutEvent({
    number: progress.number,
    step: step - 1,
    sampled,
    rows,
    entropies,
    labels: scoring.labels,
    resampled,
    seconds,
    importance: settings.weighsSampler ? importanceWeights(rows) : undefined,
    importanceCap: settings.importance_cap,
  })
  const after = { ...progress, number: progress.number + 1, cursor }
  return { number: progress.number, progress: after, sampled, rows, event }
}

/** Groups until there are enough that teach something, where equal ones are sampled again. */
async function sampledGroups(parts: RolloutParts, progress: RolloutProgress) {
  const { settings, order } = parts
  const wanted = settings.promptsPerRollout
  const sampled: RolloutSample[] = []
  const kept: RolloutSample[] = []
  let cursor = progress.cursor
  let groups = 0
  let resampled = 0
  for (let attempt = 0; ; attempt++) {
    const missing = wanted - groupsOf(kept).size
    const prompts = Array.from({ length: missing }, () => order.stepRows(cursor++)[0]!)
    if (attempt > 0) resampled += missing
    const samples = await rewardedGroups(parts, {
      prompts,
      firstGroup: groups,
      rollout: progress.number,
      attempt,
    })
    groups += missing
    sampled.push(...samples)
    kept.push(...filtered(samples, settings))
    const isFull = groupsOf(kept).size >= wanted
    if (isFull || settings.filter_groups !== "resample") break
    if (attempt === settings.max_resamples) break
  }
  return { sampled, kept, cursor, resampled }
}

/** Of each group the demonstration, or the samples. */
function gated(samples: readonly RolloutSample[], gate: number): RolloutSample[] {
  return [...groupsOf(samples).values()].flatMap((group) => {
    const [shown, own] = [true, false].map((expert) =>
      group.filter((sample) => (sample.expert ?? false) === expert),
    )
    const solved = own!.filter(({ reward }) => reward !== null && reward > 0).length
    return shown!.length > 0 && solved <= gate * own!.length ? shown! : own!
  })
}

/** Without a baseline, with the KL in it, or beside a demonstration, equal rewards teach too. */
function filtered(
  samples: readonly RolloutSample[],
  { filter_groups, rule, kl_in_reward, gate }: RolloutSettings,
): readonly RolloutSample[] {
  if (gate !== undefined) return gated(samples, gate)
  if (filter_groups === "none" || rule.baseline === "none" || kl_in_reward > 0) return samples
  if (samples.some(({ expert }) => expert)) return samples
  const differ = [...groupsOf(samples).values()].filter(
    (group) => !allEqual(group.map(({ reward }) => reward)),
  )
  return differ.flat()
}

/** What the policy and the reference say of the samples, and the advantages. */
async function measuredRows(parts: RolloutParts, kept: readonly RolloutSample[]) {
  const { prompts, settings, marks, measure, reference } = parts
  const bare = kept.map(
    (sample): StepRow => ({
      ...sampledRow(prompts[sample.prompt]!, sample, { ...marks, maskTruncated: false }),
      columns: {},
    }),
  )
  const outputs = await measure(bare)
  const refs = await reference?.(bare)
  const rewarded = kept.map((sample, i) => ({
    group: sample.group,
    tokens: sample.tokenIds.length,
    expert: sample.expert,
    reward:
      sample.reward === null
        ? null
        : sample.reward - penalty(settings.kl_in_reward, outputs[i]!.logp, refs?.[i]),
  }))
  const found = advantages(rewarded, settings.rule)
  const all = kept.map(
    (sample, i): RolloutRow => ({
      ...sample,
      advantage: found[i]!,
      oldLogp: outputs[i]!.logp,
      ...(sample.expert ? { samplingLogp: outputs[i]!.logp } : {}),
      refLogp: refs?.[i],
    }),
  )
  // A masked sample is compared with its group, and that is all: a step of none but such has no tokens.
  const isTrained = all.map(({ finishReason }) => !marks.maskTruncated || finishReason !== "length")
  return {
    rows: all.filter((_, i) => isTrained[i]),
    entropies: outputs.map(({ entropy }) => entropy).filter((_, i) => isTrained[i]),
  }
}

/** k1 of the sample, sum ln pi - ln pi_ref, times its strength; no gradient goes through it. */
function penalty(strength: number, logp: Float32Array, ref: Float32Array | undefined): number {
  if (strength === 0 || ref === undefined) return 0
  return strength * logp.reduce((sum, own, t) => sum + (own - ref[t]!), 0)
}

/** exp(ln pi_old - ln pi_sampler) of each token. */
function importanceWeights(rows: readonly RolloutRow[]): Float64Array {
  return Float64Array.from(
    rows.flatMap(({ oldLogp, samplingLogp }) =>
      Array.from(oldLogp, (old, t) => Math.exp(old - samplingLogp[t]!)),
    ),
  )
}
