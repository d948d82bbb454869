/** What a run that samples will take and find, measured on one rollout of its first prompts. */
import { InputError } from "../../errors.ts"
import { peakMemory } from "../../host/peak-memory.ts"
import type { RolloutEvent } from "../../run/events.ts"
import type { StepRow } from "../batches.ts"
import {
  type Clock,
  checkpointSeconds,
  type Estimate,
  evaluationCount,
  type Stopwatch,
  settledSeconds,
  stopwatch,
} from "../estimate.ts"
import { forwardBackward } from "../forward-backward.ts"
import { stepBatch } from "../micro-batches.ts"
import { runHead } from "../objective-batches.ts"
import type { RunPlan } from "../plan.ts"
import type { Session } from "../session.ts"
import { openRollouts } from "./open-rollouts.ts"

/** Prompts that are asked at most. */
const MOST_PROMPTS = 8
/** Seconds that a step is timed for. */
const SECONDS = 4

/** The trial's event: rewards and their spread, lengths, entropy, the sampler's gap, speed. */
export type RolloutProbe = Omit<RolloutEvent, "type" | "time" | "step">

export interface ProbeRolloutsOptions {
  /** Seconds that opening the session took. */
  readonly load: number
  readonly clock: Clock
  /** Whether a step is timed. */
  readonly timed: boolean
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

/**
 * Samples and rewards some groups with the model as it is, and takes a step on them at learning
 * rate
 * 0. Writes nothing.
 *
 * @throws InputError of a reward, and where the sampler is not the model that is trained
 */
export async function probeRollouts(
  plan: RunPlan,
  session: Session,
  { load, clock, timed, signal, onProgress }: ProbeRolloutsOptions,
): Promise<{ readonly rollout: RolloutProbe; readonly estimate: Estimate | null }> {
  const rollout = plan.rollout!
  const { settings } = rollout
  const prompts = Math.min(MOST_PROMPTS, settings.promptsPerRollout, rollout.prompts.length)
  const trial = { ...settings, promptsPerRollout: prompts, filter_groups: "none" as const }
  const rollouts = openRollouts({
    rollout: { ...rollout, settings: trial },
    ...{ objective: plan.objective, split: plan.split, steps: 1, model: session, signal },
    device: session.device,
    rewards: plan.config.rollout!.rewards,
    maskTruncated: plan.config.rollout!.mask_truncated_completions,
    file: { folder: "", keep: "none" },
  })
  const seconds = stopwatch(clock, signal)
  try {
    onProgress?.(`sampling ${prompts * settings.num_generations} answers`)
    let found: Awaited<ReturnType<typeof rollouts.batches.trial>> | undefined
    const sampling = await seconds(async () => {
      found = await rollouts.batches.trial()
    })
    const { event, rows } = found!
    const { type: _, step: __, ...probed } = event as Omit<RolloutEvent, "time">
    if (!timed) return { rollout: probed, estimate: null }
    if (rows.length === 0) {
      throw new InputError(
        `rollout.mask_truncated_completions: each of the ${probed.sequences} samples was cut at rollout.max_new_tokens ${settings.max_new_tokens}, so nothing would be trained; raise it`,
      )
    }
    onProgress?.("measuring a step")
    const estimate = await estimateRollouts(plan, session, {
      ...{ load, rows, sampling, seconds },
      sampled: probed,
    })
    return { rollout: probed, estimate }
  } finally {
    await rollouts.release()
  }
}

interface Trial {
  readonly load: number
  readonly rows: readonly StepRow[]
  readonly sampled: RolloutProbe
  /** Seconds of the trial. */
  readonly sampling: number
  readonly seconds: Stopwatch
}

/** What was measured of some groups, times the groups of the run. */
async function estimateRollouts(
  plan: RunPlan,
  session: Session,
  { load, rows, sampled, sampling, seconds }: Trial,
): Promise<Estimate> {
  const { config, rollout, order } = plan
  const { num_generations, num_iterations, promptsPerRollout } = rollout!.settings
  const trained = await stepSeconds(plan, session, { rows, seconds })
  const perStep = (trained * (config.batch_size / num_generations)) / sampled.prompts
  const stepsPerRollout = (num_iterations * promptsPerRollout * num_generations) / config.batch_size
  const asked = rollout!.evalSets.reduce((sum, { prompts }) => sum + prompts.length, 0)
  const evaluations = asked === 0 ? 0 : evaluationCount(plan)
  const parts = {
    load,
    sampling: (order.steps / stepsPerRollout) * promptsPerRollout * (sampling / sampled.prompts),
    training: order.steps * perStep,
    evaluation: evaluations * asked * (sampling / sampled.sequences),
    samples: 0,
    checkpoints: await checkpointSeconds(plan, seconds),
  }
  const tokens = rows.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
  return {
    memory_bytes: peakMemory(),
    seconds: Object.values(parts).reduce((sum, part) => sum + part, 0),
    parts,
    seconds_per_step: perStep + parts.sampling / order.steps,
    tokens_per_second: tokens / trained,
    steps: order.steps,
  }
}

/** Of an update on these rows, once its sizes are compiled. */
function stepSeconds(
  { config, objective, rollout, split }: RunPlan,
  { policy, reference }: Session,
  { rows, seconds }: Pick<Trial, "rows" | "seconds">,
): Promise<number> {
  const { temperature, max_new_tokens: maxTokens } = rollout!.settings
  const { normalization } = objective
  const batch = stepBatch(rows, { ...split, normalization, maxTokens })
  const head = runHead(objective, temperature)
  const steps = config.max_steps ?? 1
  const work = async () => {
    await forwardBackward({
      ...{ policy, head, normalization, batch, reference },
      scalars: { progress: 0, step: 1, steps },
      seed: (microBatch) => microBatch,
    })
    await policy.update({ step: 1, learningRate: 0, gradientScale: 1 })
  }
  return work().then(() => settledSeconds(seconds, work, SECONDS))
}
