import { GOLD_KEYS, goldOf } from "../grading/gold.ts"
import { Grader, type Mode } from "../grading/index.ts"
import type { RewardWork } from "./reward.ts"

/**
 * 1 for an answer that the grader finds equal to the row's gold, 0 for another, null where it
 * cannot say.
 */
export const math: RewardWork = {
  rowProblem: (row) =>
    goldOf(row) === undefined
      ? `the reward math needs a gold answer (${GOLD_KEYS.join(", ")}); the row has ${keysOf(row)}`
      : undefined,
  open({ mode }) {
    const grader = new Grader({ mode: mode as Mode })
    return {
      async score(samples, signal) {
        const items = samples.map(({ completion, row }) => ({ completion, gold: goldOf(row) }))
        const verdicts = await grader.grade(items, signal)
        return verdicts.map(({ correct, decided }) => (decided ? Number(correct) : null))
      },
      close: () => grader[Symbol.asyncDispose](),
    }
  },
}

export const keysOf = (row: object): string => Object.keys(row).slice(0, 8).join(", ") || "no keys"
