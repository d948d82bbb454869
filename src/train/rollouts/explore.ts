/** More samples of prompts that none of the first ones solved (EFRame, arXiv 2506.22200). */
import { allEqual } from "./advantages.ts"
import type { RolloutRow, RolloutSample } from "./rollout.ts"
import { groupsOf } from "./rollout-event.ts"
import { rewardedGroups, type SamplingParts, type Wanted } from "./sampling.ts"

export interface ExploreSettings {
  /** Of each hard prompt. */
  readonly samples: number
  readonly temperature: number
  /** Least |advantage| of a sample that is trained, in groups that were asked for more. */
  readonly keep: number
}

/** Streams of random numbers of their own; turns of an environment have theirs from 2^20 on. */
const STREAM = 2 ** 18

/** Whether a group's samples are all rewarded alike, and none passes by its first reward. */
function isHard(group: readonly RolloutSample[]): boolean {
  const own = group.filter(({ expert }) => !expert)
  const passes = ({ rewards }: RolloutSample) => (Object.values(rewards)[0] ?? 0) >= 1
  return allEqual(own.map(({ reward }) => reward)) && !own.some(passes)
}

export interface Explored {
  /** All samples: hard groups have the new ones behind their own. */
  readonly samples: readonly RolloutSample[]
  readonly gradingSeconds: number
}

/**
 * Asks hard prompts for more; what is drawn is a function of the same things as the first samples.
 */
export async function exploredGroups(
  parts: SamplingParts,
  samples: readonly RolloutSample[],
  wanted: Wanted,
  { samples: count, temperature }: ExploreSettings,
): Promise<Explored> {
  const hard = [...groupsOf(samples).values()].filter(isHard)
  if (hard.length === 0) return { samples, gradingSeconds: 0 }
  const settings = {
    ...{ ...parts.settings, num_generations: count, temperature },
    ...{ demonstrations: 0, prefix: null },
  }
  const more = await rewardedGroups(
    { ...parts, settings },
    { ...wanted, prompts: hard.map(([first]) => first!.prompt), firstGroup: 0, stream: STREAM },
  )
  const added = more.samples.map((sample): RolloutSample => {
    const group = hard[sample.group]!
    const sampleIndex = group.length + sample.sampleIndex
    return { ...sample, group: group[0]!.group, sampleIndex, explored: true }
  })
  return { samples: [...samples, ...added], gradingSeconds: more.gradingSeconds }
}

/** Of groups that were asked for more only the samples that say much are trained. */
export function tellingRows(rows: readonly RolloutRow[], { keep }: ExploreSettings): boolean[] {
  const asked = new Set(rows.flatMap(({ group, explored }) => (explored ? [group] : [])))
  return rows.map(({ group, advantage }) => !asked.has(group) || Math.abs(advantage) >= keep)
}
