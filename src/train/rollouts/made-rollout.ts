/** One rollout: groups sampled and rewarded, measured, and compared with one another. */
import type { RunOrder } from "../../data/order.ts"
import type { DataPrompt } from "../../data/prompts.ts"
import type { TensorToWrite } from "../../formats/index.ts"
import type { SampleSource } from "../../generate/sample-source.ts"
import type { AdvantageRule } from "../../objectives/index.ts"
import type { Scoring } from "../../rewards/index.ts"
import type { EventBody } from "../../run/events.ts"
import type { HostTensor } from "../../runtime/index.ts"
import type { StepRow } from "../batches.ts"
import type { SequenceOutputs } from "../sequence-logprobs.ts"
import { advantages, allEqual, mean } from "./advantages.ts"
import { type ExploreSettings, exploredGroups, tellingRows } from "./explore.ts"
import { tokenAdvantages } from "./gae.ts"
import type { ReplaySettings } from "./replay.ts"
import {
  ownTokens,
  type RolloutRow,
  type RolloutSample,
  sampledRow,
  type TokenMarks,
} from "./rollout.ts"
import { differences, groupsOf, rolloutEvent } from "./rollout-event.ts"
import type { ToldRollout } from "./rollout-file.ts"
import type { RolloutProgress } from "./rollout-state.ts"
import { checkSampler, type Watched } from "./rollout-watch.ts"
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
  /** Optimizer steps that may lie between a server's weights and those that its samples train. */
  readonly max_staleness?: number
  /**
   * Whether the objective weighs tokens by what the sampler had: `if-apart` where the first
   * rollout's gap decides.
   */
  readonly weighsSampler: boolean | "if-apart"
  readonly replay?: ReplaySettings | null
  readonly explore?: ExploreSettings | null
  /** Whether the objective looks at advantages: one that does not learns from any sample. */
  readonly learnsFromRewards?: boolean
  /** The reference is the policy as it is when it samples (self-distill). */
  readonly isOwnTeacherLive?: boolean
  /** The reference is the moving average of the policy, which moves so far after each rollout. */
  readonly teacherRate?: number
  /** A server samples: each rollout's gap is looked at, not the first one's alone. */
  readonly isRemote?: boolean
  readonly rule: AdvantageRule
  /**
   * HPT's: a prompt whose share of rewarded samples is at most this is learnt from its
   * demonstration alone, another from its samples alone.
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
  /** Gives a server the weights that are to draw a rollout, before any of it is drawn. */
  readonly ready?: ((rollout: number) => Promise<void>) | undefined
  /** What a rollout would be drawn in vain without: the user's own functions load. */
  readonly loaded?: (() => Promise<void>) | undefined
  /** Done once a rollout is whole, before the next update; what it changes is in `moreTensors`. */
  readonly afterRollout?: (() => Promise<void>) | undefined
  readonly moreTensors?: (() => TensorToWrite[]) | undefined
  /** A checkpoint's tensors. */
  readonly saved?: ReadonlyMap<string, HostTensor> | undefined
  /** Told of each rollout before it is trained. */
  readonly onRollout?: ((rollout: ToldRollout) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Made {
  readonly number: number
  readonly progress: RolloutProgress
  readonly sampled: readonly RolloutSample[]
  readonly rows: readonly RolloutRow[]
  readonly event: EventBody
  /** Optimizer steps between the weights that drew it and these. */
  readonly staleness: number
}

/** Samples with their rewards, not yet measured. */
export interface Drawn {
  readonly sampled: readonly RolloutSample[]
  /** Those that are trained. */
  readonly kept: readonly RolloutSample[]
  /** Prompts taken of the running order, with these. */
  readonly cursor: number
  readonly resampled: number
  /** Optimizer steps done when it was begun. */
  readonly policyStep: number
  /** Of drawing them, grading with it, and of what grading took beyond. */
  readonly seconds: number
  readonly grading: number
}

/**
 * Draws the next rollout from the policy that is to come to `step`; touches nothing that trains.
 */
export async function drawnRollout(
  parts: RolloutParts,
  progress: RolloutProgress,
  step: number,
): Promise<Drawn> {
  await parts.loaded?.()
  const began = performance.now()
  const groups = await sampledGroups(parts, progress, step)
  return { ...groups, policyStep: step - 1, seconds: (performance.now() - began) / 1000 }
}

/** `drawn` ahead of time, or now where it is left out. */
export async function madeRollout(
  parts: RolloutParts,
  progress: RolloutProgress,
  step: number,
  drawn?: Promise<Drawn>,
): Promise<Made> {
  const { settings, scoring } = parts
  const began = performance.now()
  const { sampled, kept, cursor, resampled, grading, policyStep, seconds } = await (drawn ??
    drawnRollout(parts, progress, step))
  const waited = (performance.now() - began) / 1000
  const { rows, entropies } = await measuredRows(parts, kept)
  const measuring = (performance.now() - began) / 1000 - waited
  const staleness = step - 1 - policyStep
  // of older weights the probe has told; these are apart by what was learnt since
  if (progress.number === 0 || (settings.isRemote && staleness === 0)) checkSampler(rows)
  const weighs = weighsNow(settings, progress, rows)
  const event = rolloutEvent({
    number: progress.number,
    step: step - 1,
    sampled,
    rows,
    entropies,
    labels: scoring.labels,
    resampled,
    policyStep,
    ...((settings.max_staleness ?? 0) > 0 ? { staleness } : {}),
    seconds: drawn
      ? { whole: seconds, sampling: waited, grading: 0, measuring }
      : { whole: seconds, sampling: seconds - grading, grading, measuring },
    importance: (weighs ?? settings.weighsSampler) ? importanceWeights(rows) : undefined,
    importanceCap: settings.importance_cap,
  })
  const after = {
    ...progress,
    number: progress.number + 1,
    cursor,
    ...(weighs === undefined ? {} : { weighs }),
  }
  return { number: progress.number, progress: after, sampled, rows, event, staleness }
}

/** |ln p| apart on average under which the sampler counts as the model that is trained, nats. */
const SAME_SAMPLER = 1e-3

/** Decided once, by the first rollout that trains a token; undefined where the config decides. */
function weighsNow(
  { weighsSampler }: RolloutSettings,
  { weighs }: RolloutProgress,
  rows: readonly RolloutRow[],
): boolean | undefined {
  if (weighsSampler !== "if-apart" || weighs !== undefined) return weighs
  const apart = differences(rows)
  return apart === null ? undefined : apart.mean >= SAME_SAMPLER
}

/** Groups until there are enough that teach something, where equal ones are sampled again. */
async function sampledGroups(parts: RolloutParts, progress: RolloutProgress, step: number) {
  const { settings, order } = parts
  const wanted = settings.promptsPerRollout
  const done = (step - 1) / parts.steps
  const sampled: RolloutSample[] = []
  const kept: RolloutSample[] = []
  let cursor = progress.cursor
  let groups = 0
  let resampled = 0
  let grading = 0
  for (let attempt = 0; ; attempt++) {
    const missing = wanted - groupsOf(kept).size
    const prompts = Array.from({ length: missing }, () => order.stepRows(cursor++)[0]!)
    if (attempt > 0) resampled += missing
    const place = { firstGroup: groups, rollout: progress.number, attempt, done }
    const first = await rewardedGroups(parts, { ...place, prompts })
    const { samples, gradingSeconds } = settings.explore
      ? await exploredGroups(parts, first.samples, { ...place, prompts }, settings.explore)
      : { ...first, gradingSeconds: 0 }
    groups += missing
    grading += first.gradingSeconds + gradingSeconds
    sampled.push(...samples)
    kept.push(...filtered(samples, settings))
    const isFull = groupsOf(kept).size >= wanted
    if (isFull || settings.filter_groups !== "resample") break
    if (attempt === settings.max_resamples) break
  }
  return { sampled, kept, cursor, resampled, grading }
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
  const isShown = samples.some(({ expert }) => expert)
  if (gate !== undefined && isShown) return gated(samples, gate)
  if (filter_groups === "none" || rule.baseline === "none" || kl_in_reward > 0) return samples
  if (isShown) return samples
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
  const refs = await reference?.(seenByReference(parts, kept, bare))
  const rewarded = kept.map((sample, i) => ({
    group: sample.group,
    tokens: ownTokens(sample).length,
    expert: sample.expert,
    reward:
      sample.reward === null
        ? null
        : sample.reward - penalty(settings.kl_in_reward, outputs[i]!.logp, refs?.[i]),
  }))
  const valued = valuedRows(settings, kept, outputs, refs)
  const found = valued ? undefined : advantages(rewarded, settings.rule)
  const all = kept.map(
    (sample, i): RolloutRow => ({
      ...sample,
      advantage: found ? found[i]! : mean([...valued![i]!.advantages]),
      ...valued?.[i],
      oldLogp: outputs[i]!.logp,
      samplingLogp: samplerSaid(sample, outputs[i]!.logp),
      refLogp: refs?.[i],
    }),
  )
  // A masked sample is compared with its group, and that is all: a step of none but such has no
  // tokens.
  const tells = settings.explore ? tellingRows(all, settings.explore) : undefined
  const isTrained = all.map(
    ({ finishReason }, i) =>
      tells?.[i] !== false && (!marks.maskTruncated || finishReason !== "length"),
  )
  return {
    rows: all.filter((_, i) => isTrained[i]),
    entropies: outputs.map(({ entropy }) => entropy).filter((_, i) => isTrained[i]),
  }
}

/** Each token's own advantages, where there is a critic. */
function valuedRows(
  { rule, kl_in_reward: strength }: RolloutSettings,
  kept: readonly RolloutSample[],
  outputs: readonly SequenceOutputs[],
  refs: readonly Float32Array[] | undefined,
) {
  if (!rule.gae) return undefined
  const samples = kept.map(({ reward }, i) => {
    const { logp, value } = outputs[i]!
    const apart = (t: number) => strength * (logp[t]! - (refs?.[i]?.[t] ?? logp[t]!))
    const penalties = Float64Array.from(logp, (_, t) => apart(t))
    return { reward, values: value ?? new Float32Array(logp.length), penalties }
  })
  return tokenAdvantages(samples, rule.gae).map(({ advantages, targets }, i) => {
    return { advantages, valueTarget: targets, oldValue: samples[i]!.values }
  })
}

/**
 * A teacher that is the model itself reads each sample behind a prompt that shows the
 * demonstration.
 */
function seenByReference(
  { prompts, marks }: RolloutParts,
  kept: readonly RolloutSample[],
  bare: readonly StepRow[],
): readonly StepRow[] {
  return kept.map((sample, i) => {
    const { shown, ...prompt } = prompts[sample.prompt]!
    if (!shown) return bare[i]!
    const asked = { ...prompt, tokenIds: shown }
    return { ...sampledRow(asked, sample, { ...marks, maskTruncated: false }), columns: {} }
  })
}

/** Of a demonstration's tokens no sampler said anything: what the policy says stands for it. */
function samplerSaid({ expert, prefix = 0, samplingLogp }: RolloutSample, own: Float32Array) {
  if (expert) return own
  if (prefix === 0) return samplingLogp
  const said = samplingLogp.slice()
  said.set(own.subarray(0, prefix))
  return said
}

/** k1 of the sample, sum ln pi - ln pi_ref, times its strength; no gradient goes through it. */
function penalty(strength: number, logp: Float32Array, ref: Float32Array | undefined): number {
  if (strength === 0 || ref === undefined) return 0
  return strength * logp.reduce((sum, own, t) => sum + (own - ref[t]!), 0)
}

/** exp(ln pi_old - ln pi_sampler) of each token. */
function importanceWeights(rows: readonly RolloutRow[]): Float64Array {
  return Float64Array.from(
    rows.flatMap(({ oldLogp, samplingLogp, prefix = 0 }) =>
      Array.from(oldLogp, (old, t) => Math.exp(old - samplingLogp[t]!)).slice(prefix),
    ),
  )
}
