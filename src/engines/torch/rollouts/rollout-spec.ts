/**
 * What the worker is told of a run that samples, in place of prepared rows; and what it does not
 * do.
 */
import { rowSharers } from "../../../config/index.ts"
import { InputError } from "../../../errors.ts"
import { needs } from "../../../objectives/index.ts"
import type { DataPlan } from "../../../train/plan.ts"

export interface RolloutSpec {
  readonly steps: number
  /** Of the prompts, by which a checkpoint knows them. */
  readonly key: string
  /** Prompts of the run. */
  readonly prompts: number
  /** A few of them, for the worker's look at the model. */
  readonly shown: readonly (readonly number[])[]
  /** Tokens of the longest sequence that may be trained. */
  readonly longest: number
  readonly stop_token_ids: readonly number[]
}

const SHOWN = 2

export function rolloutSpec({ rollout, order, dataKey }: DataPlan): RolloutSpec | undefined {
  if (!rollout) return undefined
  const { prompts, settings, stopIds } = rollout
  const longest = prompts.reduce((most, { tokenIds }) => Math.max(most, tokenIds.length), 0)
  return {
    steps: order.steps,
    key: dataKey,
    prompts: prompts.length,
    shown: prompts.slice(0, SHOWN).map(({ tokenIds }) => [...tokenIds]),
    longest: longest + settings.max_new_tokens,
    stop_token_ids: [...stopIds],
  }
}

/** @throws InputError for what engine torch does not do of a run that samples */
export function checkRollouts({ rollout, config, objective }: DataPlan): void {
  if (!rollout) return
  const { wholeReference, critic } = needs(objective.expression)
  const { settings } = rollout
  const sharers = rowSharers(config)
  const asked = [
    [critic, `objective ${objective.name}: a critic`],
    [wholeReference, `objective ${objective.name}: the whole distribution of a reference`],
    [config.teacher !== null, "teacher"],
    [sharers > 1, `engine.context_parallel: ${sharers}`],
    [rollout.source !== undefined, "rollout.source: a server that samples"],
    [settings.top_p < 1, `rollout.top_p: ${settings.top_p}`],
    [settings.top_k > 0, `rollout.top_k: ${settings.top_k}`],
    [rollout.environment !== undefined, "rollout.environment"],
    [config.ema_decay !== null, `ema_decay: ${config.ema_decay}`],
    [config.load_best_model_at_end, "load_best_model_at_end"],
    [config.early_stopping_patience !== null, "early_stopping_patience"],
    [config.generate_samples !== null && config.generate_samples !== undefined, "generate_samples"],
  ] as const
  for (const [isAsked, name] of asked) {
    if (!isAsked) continue
    throw new InputError(
      `${name}: with an objective that samples, engine torch does not do this; leave it out, or use engine: onnx`,
    )
  }
}
