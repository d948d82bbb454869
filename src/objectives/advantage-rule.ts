import type { AdvantageRule, GaeSettings } from "./definition.ts"
import { definitionOf } from "./family.ts"
import { needs, type Objective } from "./objective.ts"

/** What a run may say of its advantages, in place of its objective's rule. */
export interface AdvantageSettings {
  readonly num_generations: number
  readonly advantage: "group" | "leave-one-out" | "whiten" | "none" | null
  readonly scale_rewards: "group" | "batch" | "none" | null
}

const OF_OWN_EXPRESSIONS: AdvantageRule = { baseline: "group", scale: "group" }

/**
 * How advantages are made: with a critic by what it says, else as the settings say, else as the
 * objective of this name has it. REINFORCE with one sample a prompt has no group to take a baseline
 * from, and does without.
 */
export function normalizedAdvantage(
  name: string,
  settings: AdvantageSettings,
  gae?: GaeSettings,
): AdvantageRule {
  if (gae) return { baseline: "none", scale: "none", whiten: true, gae }
  const own = definitionOf(name)?.advantage ?? OF_OWN_EXPRESSIONS
  const { advantage, scale_rewards, num_generations } = settings
  const scale = scale_rewards ?? own.scale
  if (advantage === "whiten") return { baseline: "none", scale, whiten: true }
  if (advantage !== null) return { baseline: advantage, scale }
  if (name === "reinforce" && num_generations === 1) return { baseline: "none", scale }
  return { ...own, scale }
}

/**
 * GAE's settings of an objective with a critic: `gamma` and `lambda`, 1 and 0.95 of one's own;
 * undefined without.
 */
export function gaeOf({ expression, parameters }: Objective): GaeSettings | undefined {
  const { gamma = 1, lambda = 0.95 } = parameters
  return needs(expression).critic ? { gamma: Number(gamma), lambda: Number(lambda) } : undefined
}
