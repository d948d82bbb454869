import { type JudgedItem, plainVerdict, type SuiteJudge } from "./judge.ts"

const VERSION = "exact-1"

/** The last line that says something, without letter case, white space and closing punctuation. */
const comparable = (text: string): string =>
  text
    .trim()
    .toLowerCase()
    .replaceAll(/\s+/g, " ")
    .replace(/[.!?]+$/, "")

/** Right where the whole answer, or its last line, is the gold text. */
export function exactJudge(): SuiteJudge {
  const judged = ({ completion, gold }: JudgedItem) => {
    const last = completion.trim().split("\n").at(-1)!
    const extracted = comparable(completion) === comparable(gold) ? completion.trim() : last
    const correct = comparable(extracted) === comparable(gold)
    return plainVerdict(
      {
        correct,
        extracted: extracted === "" ? null : extracted,
        gold,
        reason: correct ? "the same text" : "another text",
      },
      VERSION,
    )
  }
  return {
    judge: async (items) => items.map(judged),
    [Symbol.asyncDispose]: async () => {},
  }
}
