import { expect, test } from "vitest"
import { openScoring, rewardProblems, rowProblem } from "../../src/rewards/index.ts"
import { agreement, scoreIn } from "../../src/rewards/self-score.ts"

const sample = (completion: string, row = {}) => ({
  prompt: "6 * 7?",
  completion,
  token_ids: [1],
  finish_reason: "stop",
  row,
  where: "prompts.jsonl:3",
})

test.each([
  ["8", 0.8],
  ["I would say 3, no: 7.5", 0.75],
  ["11", 1],
  ["-2", 0],
  ["good", null],
])("the reply %j is worth %j", (reply, score) => {
  expect(scoreIn(reply, 10)).toBe(score)
})

test.each([
  ["A: 9, B: 2, C: 5", [3, 1, 2], 1],
  ["A: 1, B: 2, C: 3", [3, 2, 1], -1],
  ["of 3 answers: 9, 2, 5", [3, 2, 1], 1 / 3],
  ["5, 5", [1, 0], 0],
  ["7", [1, 0], -1],
  ["1, 2, 0", [1, 1, 0], 1],
])("the scores of %j against %j agree to %d", (answer, ranking, tau) => {
  expect(agreement(answer, ranking)).toBeCloseTo(tau, 12)
})

test("the policy is asked about answers, a row with a ranking is held to it", async () => {
  const asked: string[] = []
  const scoring = openScoring(
    [{ name: "self-score", weight: 1, prompt: "Q {question} A {answer}", scale: 5 }],
    {
      maxNewTokens: 10,
      ask: async (texts) => {
        asked.push(...texts)
        return texts.map((text) => (text.includes("42") ? "5" : "none"))
      },
    },
  )
  expect(scoring.asksPolicy).toBe(true)
  const samples = [sample("42"), sample("41"), sample("2 9", { ranking: [0, 1] })]
  expect((await scoring.score(samples)).map(({ reward }) => reward)).toEqual([1, null, 1])
  expect(asked).toEqual(["Q 6 * 7? A 42", "Q 6 * 7? A 41"])
})

test("what cannot be judged is named", () => {
  const self = { name: "self-score", weight: 1 }
  expect(rowProblem({ ranking: [1] }, [self])).toMatch(/two or more numbers/)
  expect(rowProblem({ prompt: "x" }, [self])).toBeUndefined()
  expect(rewardProblems({ ...self, prompt: "judge {question}" })[0]!.message).toMatch(/{answer}/)
})
