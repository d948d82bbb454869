import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { FixedBatches, StepRow } from "./batches.ts"

/** What is made of rewards: `rwr`'s weights, and the advantages of answers to one prompt. */
export interface RewardSettings {
  readonly tau: number
  readonly cap: number
}

/** By row: its weight and its advantage among the answers to the same prompt. */
export interface RewardColumns {
  readonly row_weight: Float32Array
  readonly advantage: Float32Array
}

/**
 * The answers to each prompt compared with one another (float64):
 *
 *     row_weight = min(cap, exp((R - R_max) / tau) over its mean in the group)
 *     advantage  = R - mean R of the group
 */
export function rewardColumns(
  rewards: readonly number[],
  groups: readonly string[],
  { tau, cap }: RewardSettings,
): RewardColumns {
  const members = new Map<string, number[]>()
  groups.forEach((group, row) => {
    const known = members.get(group)
    if (known) known.push(row)
    else members.set(group, [row])
  })
  const weight = new Float32Array(rewards.length)
  const advantage = new Float32Array(rewards.length)
  for (const rows of members.values()) {
    const own = rows.map((row) => rewards[row]!)
    const best = Math.max(...own)
    const raw = own.map((reward) => Math.exp((reward - best) / tau))
    const meanRaw = raw.reduce((sum, x) => sum + x, 0) / rows.length
    const meanReward = own.reduce((sum, x) => sum + x, 0) / rows.length
    rows.forEach((row, i) => {
      weight[row] = Math.min(cap, raw[i]! / meanRaw)
      advantage[row] = own[i]! - meanReward
    })
  }
  return { row_weight: weight, advantage }
}

/** Answers with rewards. All rows are read once, to find those that answer the same prompt. */
export function rewardedBatches(
  batches: FixedBatches,
  rows: Pick<Prepared, "rows" | "row">,
  settings: RewardSettings,
): FixedBatches {
  const rewards: number[] = []
  const groups: string[] = []
  for (let index = 0; index < rows.rows; index++) {
    const row = rows.row(index)
    rewards.push(row.value)
    groups.push(promptOf(row))
  }
  const columns = rewardColumns(rewards, groups, settings)
  const sequences = (index: number): StepRow[] =>
    batches.sequences(index).map((row) => ({
      ...row,
      columns: {
        row_weight: columns.row_weight[index]!,
        advantage: columns.advantage[index]!,
      },
    }))
  return {
    ...batches,
    sequences,
    batch: (step) => ({ rows: batches.indices(step).flatMap(sequences) }),
  }
}

const promptOf = ({ tokenIds, lossMask }: PreparedRow) =>
  tokenIds.subarray(0, Math.max(0, lossMask.indexOf(1))).join(" ")
