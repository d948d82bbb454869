/** The steps of a run that samples: rollouts are made when they are needed, and used up. */
import type { TensorToWrite } from "../../formats/index.ts"
import { randomStream } from "../../random.ts"
import type { EventBody } from "../../run/events.ts"
import type { BatchSource, StepRow, StepRows } from "../batches.ts"
import { type Made, madeRollout, type RolloutParts, type RolloutSettings } from "./made-rollout.ts"
import { type Rollout, type RolloutRow, type RolloutSample, trainedRow } from "./rollout.ts"
import { groupsOf } from "./rollout-event.ts"
import { ROLLOUTS_BEGIN, type RolloutProgress, savedState, stateTensors } from "./rollout-state.ts"
import { outcomeOf, teaches, type Watched } from "./rollout-watch.ts"

export interface RolloutBatches extends BatchSource {
  /** For a checkpoint after `step` steps. */
  tensorsAfter(step: number): TensorToWrite[]
  /** A rollout of the first prompts as it would be trained, whether it teaches anything or not. */
  trial(): Promise<{ readonly event: EventBody; readonly rows: readonly StepRow[] }>
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
    async trial() {
      const { event, rows } = await madeRollout(parts, ROLLOUTS_BEGIN, 1)
      return { event, rows: rows.map((row) => trainedRow(prompts[row.prompt]!, row, marks)) }
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
