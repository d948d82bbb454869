/** Samples that are trained once more (EFRame, arXiv 2506.22200). */
import type { EventBody } from "../../run/events.ts"
import { mean } from "./advantages.ts"
import type { Rollout, RolloutRow } from "./rollout.ts"
import type { RolloutProgress } from "./rollout-state.ts"

export interface ReplaySettings {
  /** Least |advantage|. */
  readonly keep: number
  /** Rollouts. */
  readonly every: number
  /** Samples. */
  readonly max: number
}

/**
 * Of a rollout's samples those whose advantage says most, behind the ones kept before; the oldest
 * make room. They keep the log-probabilities that they were drawn with: measured anew, their ratio
 * would be 1 and how far the policy has moved since would be hidden.
 */
export function keptSamples(
  before: readonly RolloutRow[],
  rows: readonly RolloutRow[],
  { keep, max }: ReplaySettings,
  policyStep: number,
): RolloutRow[] {
  const telling = rows.filter(({ advantage, expert }) => !expert && Math.abs(advantage) >= keep)
  return [...before, ...telling.map((row) => ({ ...row, policyStep }))].slice(-max)
}

/** Whether the kept samples come before the next rollout. */
export function isReplayDue(
  { number, replayed = 0 }: RolloutProgress,
  kept: readonly RolloutRow[],
  { every }: ReplaySettings,
): boolean {
  return kept.length > 0 && number > replayed && number % every === 0
}

/** The kept samples as what is trained next, from `step` on; each counts alone. */
export function replayOf(
  kept: readonly RolloutRow[],
  { number }: RolloutProgress,
  step: number,
): { readonly rollout: Rollout; readonly event: EventBody } {
  const rows = kept.map((row, group) => ({ ...row, group }))
  const ages = kept.map(({ policyStep = 0 }) => step - 1 - policyStep)
  return {
    rollout: { number, firstStep: step, rows, replayed: true },
    event: {
      type: "replay",
      step: step - 1,
      samples: kept.length,
      tokens: kept.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0),
      reward: mean(kept.flatMap(({ reward }) => reward ?? [])),
      age: { mean: mean(ages), min: Math.min(...ages), max: Math.max(...ages) },
    },
  }
}
