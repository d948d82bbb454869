import type { AdvantageRule } from "./definition.ts"
import { definitionOf } from "./family.ts"

/** What a run may say of its advantages, in place of its objective's rule. */
export interface AdvantageSettings {
  readonly num_generations: number
  readonly advantage: "group" | "leave-one-out" | "whiten" | "none" | null
  readonly scale_rewards: "group" | "batch" | "none" | null
}

const OF_OWN_EXPRESSIONS: AdvantageRule = { baseline: "group", scale: "group" }

/**
 * How advantages are made: as the settings say, else as the objective of this name has it. REINFORCE
 * with one sample a prompt has no group to take a baseline from, and does without.
 */
export function normalizedAdvantage(name: string, settings: AdvantageSettings): AdvantageRule {
  const own = definitionOf(name)?.advantage ?? OF_OWN_EXPRESSIONS
  const { advantage, scale_rewards, num_generations } = settings
  const scale = scale_rewards ?? own.scale
  if (advantage === "whiten") return { baseline: "none", scale, whiten: true }
  if (advantage !== null) return { baseline: advantage, scale }
  if (name === "reinforce" && num_generations === 1) return { baseline: "none", scale }
  return { ...own, scale }
}
