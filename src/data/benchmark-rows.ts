/** What the rows of a benchmark ask and answer, whatever else they have. */
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"

const KEYS = {
  question: ["problem", "question", "prompt", "instruction", "query", "text"],
  answer: ["solution", "answer", "completion", "response", "output", "canonical_solution"],
} as const

/**
 * Its texts, in the order of the keys.
 *
 * @throws InputError for a row without a question: nothing could be compared with it
 */
export function benchmarkTexts(
  value: unknown,
  where: string,
): { readonly question: readonly string[]; readonly answer: readonly string[] } {
  const under = (keys: readonly string[]) =>
    keys.flatMap((key) => {
      const text = isObject(value) ? value[key] : undefined
      return typeof text === "string" ? [text] : []
    })
  const question = under(KEYS.question)
  if (question.length === 0)
    throw new InputError(`${where}: expected a question under ${KEYS.question.join(", ")}`)
  return { question, answer: under(KEYS.answer) }
}
