/**
 * Every reward that a config can name. What it does stands in the file of its work (scorers.ts).
 */
import { MODES } from "../grading/modes.ts"
import type { RewardDeclaration } from "./reward.ts"

const ONE_BOX = "^(?:(?!\\\\boxed)[\\s\\S])*\\\\boxed\\{[^{}]+\\}(?:(?!\\\\boxed)[\\s\\S])*$"

const SELF_SCORE_PROMPT = `Question:
{question}

Answer:
{answer}

How good is the answer, from 0 (useless) to 10 (perfect)? Reply with the number alone.`

export const REWARDS = {
  math: {
    meaning: "1 where the answer equals the row's gold answer, else 0",
    parameters: {
      mode: {
        kind: "word",
        default: "lenient",
        words: MODES,
        meaning: "how answers are compared, as dftune grade has it",
      },
    },
  },
  format: {
    meaning: "1 where the completion matches a pattern, else 0",
    parameters: {
      pattern: {
        kind: "text",
        default: ONE_BOX,
        meaning: "a JavaScript regular expression; left out: exactly one \\boxed{...}",
      },
    },
    conflict({ pattern }) {
      try {
        new RegExp(String(pattern), "u")
        return undefined
      } catch (error) {
        return `pattern: is no regular expression: ${(error as Error).message}`
      }
    },
  },
  overlong: {
    meaning: "0 up to max_new_tokens - buffer, from there falling to -1",
    parameters: {
      buffer: {
        kind: "number",
        default: Number.NaN,
        min: 1,
        max: 1e9,
        meaning: "tokens before the limit where it begins; left out: a fifth of max_new_tokens",
      },
    },
  },
  repetition: {
    meaning: "minus the share of repeated runs of n tokens",
    parameters: { n: { kind: "number", default: 3, min: 1, max: 100, meaning: "tokens of a run" } },
  },
  exact: {
    meaning:
      "1 where the completion is the row's gold answer to the letter, outer white space aside",
    parameters: {
      key: {
        kind: "text",
        default: null,
        meaning: "the row's field with the gold answer; left out: answer, gold, ...",
      },
    },
  },
  "unit-tests": {
    meaning:
      "1 where the program in the completion (JavaScript or Python) passes the row's tests, else 0",
    parameters: {
      key: {
        kind: "text",
        default: "tests",
        meaning: "the row's field with the tests",
      },
      score: {
        kind: "word",
        default: "all",
        words: ["all", "share"],
        meaning: "1 for all of the tests or nothing, or the share that passes",
      },
      language: {
        kind: "word",
        default: "javascript",
        words: ["javascript", "python"],
        meaning: "of the programs",
      },
      seconds: {
        kind: "number",
        default: 10,
        min: 0.1,
        max: 600,
        meaning: "that a program may take with all its tests, the start of its process among them",
      },
    },
  },
  "self-score": {
    meaning:
      "what the policy itself says of the answer, from 0 to 1; of a row with a ranking, whether the scores in the answer are in its order",
    parameters: {
      prompt: {
        kind: "text",
        default: SELF_SCORE_PROMPT,
        meaning: "how it is asked; {question} and {answer} stand for the sample's",
      },
      scale: { kind: "number", default: 10, min: 1e-9, max: 1e9, meaning: "the best score" },
      reply: { kind: "number", default: 16, min: 1, max: 4096, meaning: "tokens of its reply" },
    },
    conflict: ({ prompt }) =>
      String(prompt).includes("{answer}")
        ? undefined
        : "prompt: expected {answer} in it, which stands for what is judged",
  },
} as const satisfies Readonly<Record<string, RewardDeclaration>>

export type RewardName = keyof typeof REWARDS

export function declaredReward(name: string): RewardDeclaration | undefined {
  return Object.hasOwn(REWARDS, name) ? REWARDS[name as RewardName] : undefined
}
