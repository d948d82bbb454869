import { type JudgedItem, plainVerdict, type SuiteJudge } from "./judge.ts"

const VERSION = "exact-2"

/**
 * Without letter case, white space and the punctuation that closes a text; one that is nothing else
 * stays.
 */
const comparable = (text: string): string =>
  text
    .normalize("NFC")
    .trim()
    .toLowerCase()
    .replaceAll(/\s+/g, " ")
    .replace(/(?<=[^\s.!?])[\s.!?]+$/, "")

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
