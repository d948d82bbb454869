/** Rewards of what a completion looks like, whatever it says. */
import type { JsonObject } from "../formats/json.ts"
import { GOLD_KEYS, goldOf } from "../grading/gold.ts"
import { keysOf } from "./math.ts"
import { eachSample, type RewardWork } from "./reward.ts"

export const format: RewardWork = {
  open({ pattern }) {
    const matches = new RegExp(String(pattern), "u")
    return eachSample(({ completion }) => Number(matches.test(completion)))
  },
}

/**
 * DAPO's soft punishment of length n (arXiv 2503.14476, equation 13), L the limit and b the buffer:
 *
 *     0 up to L - b,  (L - b - n) / b up to L,  -1 above
 */
export const overlong: RewardWork = {
  open({ buffer }, { maxNewTokens: most }) {
    const given = Number(buffer)
    const b = Number.isNaN(given) ? Math.max(1, Math.round(most / 5)) : Math.min(given, most)
    return eachSample(({ token_ids: { length } }) =>
      length <= most - b ? 0 : Math.max(-1, (most - b - length) / b),
    )
  },
}

export const repetition: RewardWork = {
  open: ({ n }) => eachSample(({ token_ids }) => repeated(token_ids, Math.round(Number(n)))),
}

/** -(1 - different n-grams / n-grams); 0 where there are none. */
function repeated(ids: readonly number[], n: number): number {
  const grams = ids.length - n + 1
  if (grams < 1) return 0
  const seen = new Set<string>()
  for (let i = 0; i < grams; i++) seen.add(ids.slice(i, i + n).join(" "))
  return seen.size / grams - 1
}

export const exact: RewardWork = {
  rowProblem: (row, { key }) =>
    goldText(row, key) === undefined
      ? `the reward exact needs a text under ${key ?? GOLD_KEYS.join(", ")}; the row has ${keysOf(row)}`
      : undefined,
  open: ({ key }) =>
    eachSample(({ completion, row }) => Number(completion.trim() === goldText(row, key)?.trim())),
}

function goldText(row: JsonObject, key: unknown): string | undefined {
  const value = typeof key === "string" ? row[key] : goldOf(row)
  return typeof value === "string" || typeof value === "number" ? String(value) : undefined
}
