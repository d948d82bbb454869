/**
 * Of a run that samples: rows to compare with, and the sampler beside the model that is trained.
 */
import type { Scoring } from "../rewards/index.ts"
import type { RolloutEvent } from "../run/events.ts"
import type { StepRow } from "../train/batches.ts"
import type { RunPlan } from "../train/plan.ts"
import { openRollouts } from "../train/rollouts/open-rollouts.ts"
import { type Comparison, judged, notMade, type Row } from "./comparison.ts"
import { withModel } from "./measurements.ts"
import type { Subject } from "./subject.ts"

const SAMPLER: Row = {
  name: "sampler",
  compared: "ln p of sampled tokens as the sampler had it with training's, mean difference",
  // docs/log.md: 4e-6 in float32 on SmolLM2-135M; cached and packed graphs round otherwise.
  usual: 1e-4,
}
/** A server in bfloat16 was 0.036 apart; our own sampler is nearer. */
const USUAL_BF16 = 5e-2

/** Few enough to take seconds. */
const PROMPTS = 2
const SAMPLES = 2
const MOST_NEW_TOKENS = 32

/** The first sample of each group is the better one: advantages that an update would follow. */
const FIRST_IS_BEST: Scoring = {
  labels: ["first"],
  score: async (samples) =>
    samples.map((_, i) => ({ reward: i === 0 ? 1 : 0, rewards: { first: i === 0 ? 1 : 0 } })),
  close: async () => {},
}

export interface SampledRows {
  readonly rows: readonly StepRow[]
  readonly apart: RolloutEvent["logp_difference"]
}

/** Samples of the first prompts with made-up rewards, in the run's own precision. */
export async function sampledRows(subject: Omit<Subject, "rows">): Promise<SampledRows> {
  const { plan, signal } = subject
  const rollout = plan.rollout!
  const settings = {
    ...rollout.settings,
    promptsPerRollout: Math.min(PROMPTS, rollout.prompts.length),
    num_generations: SAMPLES,
    max_new_tokens: Math.min(MOST_NEW_TOKENS, rollout.settings.max_new_tokens),
    filter_groups: "none" as const,
  }
  return withModel(subject, plan.engine.dtype, async (model, device) => {
    const rollouts = openRollouts({
      rollout: { ...rollout, settings },
      ...{ objective: plan.objective, split: plan.split, steps: 1, model, device, signal },
      ...{ rewards: [], scoring: FIRST_IS_BEST, maskTruncated: false },
      file: { folder: "", keep: "none" },
    })
    try {
      const { event, rows } = await rollouts.batches.trial()
      return { rows, apart: (event as Omit<RolloutEvent, "time">).logp_difference }
    } finally {
      await rollouts.release()
    }
  })
}

export function samplerComparison(
  { engine: { dtype } }: RunPlan,
  apart: SampledRows["apart"],
): Comparison {
  const row = dtype === "bf16" ? { ...SAMPLER, usual: USUAL_BF16 } : SAMPLER
  if (apart === null) return notMade(row, "no token was sampled")
  return judged(row, { difference: apart.mean, detail: `at most ${apart.max.toExponential(1)}` })
}
