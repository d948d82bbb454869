/** The steps of a run that samples: rollouts are made when they are needed, and used up. */
import type { TensorToWrite } from "../../formats/index.ts"
import { randomStream } from "../../random.ts"
import type { EventBody } from "../../run/events.ts"
import type { BatchSource, StepRow, StepRows } from "../batches.ts"
import {
  type Drawn,
  drawnRollout,
  type Made,
  madeRollout,
  type RolloutParts,
  type RolloutSettings,
} from "./made-rollout.ts"
import { isReplayDue, keptSamples, replayOf } from "./replay.ts"
import {
  ownTokens,
  type Rollout,
  type RolloutRow,
  type RolloutSample,
  trainedRow,
} from "./rollout.ts"
import { groupsOf } from "./rollout-event.ts"
import { ROLLOUTS_BEGIN, type RolloutProgress, savedState, stateTensors } from "./rollout-state.ts"
import { outcomeOf, teaches, type Watched } from "./rollout-watch.ts"

export interface RolloutBatches extends BatchSource {
  /** For a checkpoint after `step` steps. */
  tensorsAfter(step: number): TensorToWrite[]
  /** A rollout of the first prompts as it would be trained, whether it teaches anything or not. */
  trial(): Promise<{ readonly event: EventBody; readonly rows: readonly StepRow[] }>
  /** Ends what is drawn ahead. */
  release(): Promise<void>
}

export function rolloutBatches(parts: RolloutParts): RolloutBatches {
  const { prompts, order, settings, marks, signal } = parts
  const { replay } = settings
  const saved = parts.saved && savedState(parts.saved)
  let progress: RolloutProgress = saved?.progress ?? ROLLOUTS_BEGIN
  let rollout: Rollout | undefined = saved?.rollout
  let kept: readonly RolloutRow[] = saved?.kept ?? []
  let failure: Error | undefined
  let ahead: { readonly drawn: Promise<Drawn>; readonly stop: AbortController } | undefined

  /** Has the next rollout drawn, beside the steps that are left of this one. */
  const drawAhead = async (step: number) => {
    if (ahead || !rollout || !isNextDue(rollout, parts, step)) return
    await parts.ready?.(progress.number)
    const stop = new AbortController()
    const stops = AbortSignal.any([stop.signal, ...(signal ? [signal] : [])])
    const drawn = drawnRollout({ ...parts, signal: stops }, progress, step)
    drawn.catch(() => {}) // told to whoever asks for it
    ahead = { drawn, stop }
  }

  const trained = (row: RolloutRow) =>
    trainedRow(prompts[row.prompt]!, row, marks, { trustsSampler: progress.weighs === false })

  /** Makes the next rollout; its events, and whether the run is over. */
  const next = async (step: number): Promise<StepRows> => {
    if (replay && isReplayDue(progress, kept, replay)) {
      const again = replayOf(kept, progress, step)
      rollout = again.rollout
      kept = []
      progress = { ...progress, replayed: progress.number }
      return { rows: rowsAt(rollout, step), events: [again.event] }
    }
    const drawn = ahead?.drawn
    ahead = undefined
    const made = await madeRollout(parts, progress, step, drawn)
    await parts.afterRollout?.()
    const watched = { ...parts.watch, ...watchedOf(parts, made, step) }
    const outcome = outcomeOf(made.progress, watched)
    progress = outcome.progress
    failure = outcome.failure
    rollout =
      teaches(made.rows, watched) && !outcome.over ? { ...made, firstStep: step } : undefined
    if (replay && rollout) kept = keptSamples(kept, made.rows, replay, step - 1)
    tell(parts, made, step)
    const events = [made.event, ...sampleEvents(parts, made, step), ...warned(outcome, step)]
    if (rollout === undefined) return { rows: [], events, ...(outcome.over ? { over: true } : {}) }
    return { rows: rowsAt(rollout, step), events }
  }

  const rowsAt = (current: Rollout, step: number): StepRow[] =>
    rowsOfStep(current, settings, step).map(trained)

  return {
    steps: parts.steps,
    async batch(step) {
      if (failure) throw failure
      const isLeft = rollout !== undefined && step <= lastStep(rollout, settings)
      let taken: StepRows | undefined
      try {
        taken = isLeft ? { rows: rowsAt(rollout!, step) } : await next(step)
        await drawAhead(step)
      } catch (error) {
        if (!signal?.aborted) throw error
      }
      return taken
    },
    epochAt: () => progress.cursor / order.rowsPerEpoch,
    tensorsAfter(step) {
      const left = rollout && step < lastStep(rollout, settings) ? rollout : undefined
      return [...stateTensors({ progress, rollout: left, kept }), ...(parts.moreTensors?.() ?? [])]
    },
    async trial() {
      const { event, rows } = await madeRollout(parts, ROLLOUTS_BEGIN, 1)
      return { event, rows: rows.map(trained) }
    },
    async release() {
      ahead?.stop.abort()
      await ahead?.drawn.catch(() => {})
    },
  }
}

/**
 * Groups stay together; samples that are trained once more have none, and one pass is all they get.
 */
function passOf({ rows, replayed }: Rollout, settings: RolloutSettings) {
  const perStep = replayed ? settings.batchSize : groupsOfStep(settings)
  return {
    perStep,
    steps: Math.ceil(groupsOf(rows).size / perStep),
    passes: replayed ? 1 : settings.num_iterations,
  }
}

function lastStep(rollout: Rollout, settings: RolloutSettings): number {
  const { steps, passes } = passOf(rollout, settings)
  return rollout.firstStep + passes * steps - 1
}

/**
 * Whether the weights that are about to come to `step` may draw the next rollout: the steps that
 * are left of this one are no more than may lie between.
 */
function isNextDue(rollout: Rollout, { settings, steps }: RolloutParts, step: number): boolean {
  const last = lastStep(rollout, settings)
  return last - step + 1 <= (settings.max_staleness ?? 0) && last < steps
}

/** What a step trains of a rollout. */
function rowsOfStep(rollout: Rollout, settings: RolloutSettings, step: number): RolloutRow[] {
  const { perStep, steps } = passOf(rollout, settings)
  const done = step - rollout.firstStep
  const [iteration, part] = [Math.floor(done / steps), done % steps]
  const order = passOrder(rollout, settings.seed, iteration)
  return order.slice(part * perStep, (part + 1) * perStep).flat()
}

const warned = ({ warnings }: ReturnType<typeof outcomeOf>, step: number) =>
  warnings.map((warning): EventBody => ({ type: "warning", step: step - 1, ...warning }))

const groupsOfStep = ({ batchSize, num_generations }: RolloutSettings) =>
  batchSize / num_generations

/**
 * Whole groups in the order of a pass: another for each rollout and pass, the same when made again.
 */
function passOrder(
  { rows, number, replayed }: Rollout,
  seed: number,
  iteration: number,
): RolloutRow[][] {
  const random = randomStream(
    seed,
    replayed ? `replay before ${number}` : `rollout ${number} iteration ${iteration}`,
  )
  const groups = [...groupsOf(rows).values()]
  const keyed = groups.map((group) => ({ group, key: random() }))
  return keyed.sort((a, b) => a.key - b.key).map(({ group }) => group)
}

function tell(
  { onRollout }: RolloutParts,
  { number, sampled, rows, staleness }: Made,
  step: number,
): void {
  const advantage = new Map(rows.map((row) => [placeOf(row), row.advantage]))
  const samples = sampled.map((sample) => {
    return { ...sample, advantage: advantage.get(placeOf(sample)) ?? null }
  })
  onRollout?.({ number, policyStep: step - 1 - staleness, samples })
}

const placeOf = ({ group, sampleIndex }: RolloutSample) => `${group}:${sampleIndex}`

/** Rollouts of a run of which samples are told, about. */
const TOLD = 10

/** The best and the worst sample of a rollout's first group, of some rollouts. */
function sampleEvents(parts: RolloutParts, { number, rows }: Made, step: number): EventBody[] {
  const { settings, prompts, watch } = parts
  const perPass = Math.ceil(settings.promptsPerRollout / groupsOfStep(settings))
  const perRollout = settings.num_iterations * perPass
  const every = Math.max(1, Math.floor(parts.steps / perRollout / TOLD))
  const [first] = groupsOf(rows).values()
  if (number % every !== 0 || !first) return []
  const ranked = first.toSorted((a, b) => b.advantage - a.advantage)
  return [...new Set([ranked[0]!, ranked.at(-1)!])].map((row) => ({
    type: "sample",
    step: step - 1,
    prompt: parts.decode(prompts[row.prompt]!.tokenIds),
    completion: row.completion,
    tokens: ownTokens(row).map(watch.tokenText),
    probabilities: [...row.samplingLogp].map(Math.exp),
    reward: row.reward,
    rewards: row.rewards,
    advantage: row.advantage,
    finish_reason: row.finishReason,
  }))
}

const watchedOf = (
  { prompts, settings }: RolloutParts,
  { sampled, rows, staleness }: Made,
  step: number,
): Omit<Watched, "stops" | "tokenText"> => ({
  sampled: sampled.filter(({ expert }) => !expert),
  rows,
  prompts,
  maxNewTokens: settings.max_new_tokens,
  updated: step > 1,
  learnsFromRewards: settings.learnsFromRewards ?? true,
  // what stale samples are apart by was learnt since
  isRemote: (settings.isRemote ?? false) && staleness === 0,
})
