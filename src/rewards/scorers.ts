/** Rewards at work: what each entry of `rollout.rewards` is opened as. */
import { assert } from "../errors.ts"
import type { JsonObject } from "../formats/json.ts"
import { REWARDS, type RewardName } from "./declared.ts"
import { rewardEndpoint } from "./endpoint.ts"
import { math } from "./math.ts"
import { ownFunction } from "./own-function.ts"
import type { RewardContext, RewardWork, Scorer } from "./reward.ts"
import { selfScore } from "./self-score.ts"
import { type RewardSettings, rewardValues } from "./settings.ts"
import { exact, format, overlong, repetition } from "./texts.ts"
import { unitTests } from "./unit-tests.ts"

const WORK: { readonly [Name in RewardName]: RewardWork } = {
  math,
  format,
  overlong,
  repetition,
  exact,
  "unit-tests": unitTests,
  "self-score": selfScore,
}

/** Whether any of them asks the policy. */
export const asksPolicy = (all: readonly RewardSettings[]): boolean =>
  all.some(({ name }) => name !== undefined && WORK[name as RewardName].asksPolicy === true)

const TIMEOUT_SECONDS = 10

/** What a prompt's row lacks for these rewards; undefined when nothing. */
export function rowProblem(row: JsonObject, all: readonly RewardSettings[]): string | undefined {
  for (const settings of all) {
    if (settings.name === undefined) continue
    const name = settings.name as RewardName
    const problem = WORK[name].rowProblem?.(row, rewardValues(REWARDS[name], settings))
    if (problem !== undefined) return problem
  }
  return undefined
}

export function openScorer(settings: RewardSettings, context: RewardContext): Scorer {
  const { name, module, model, url, timeout = TIMEOUT_SECONDS } = settings
  if (name !== undefined) {
    const known = name as RewardName
    return WORK[known].open(rewardValues(REWARDS[known], settings), context)
  }
  if (module !== undefined) {
    return ownFunction({ module, export: settings.export ?? "default", timeout })
  }
  if (model !== undefined) {
    assert(context.openModel, "a reward model where none can be opened")
    return context.openModel(model)
  }
  return rewardEndpoint({ url: url!, timeout })
}
