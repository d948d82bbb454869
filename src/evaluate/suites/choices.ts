import { InputError } from "../../errors.ts"
import { isObject, type JsonObject } from "../../formats/json.ts"
import type { ChoiceGold } from "../choices.ts"
import { field, type Suite } from "./suite.ts"

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/** Texts under `choices`, as a list or as ARC's `{ text, label }`. */
function choicesOf(row: JsonObject, where: string): { texts: string[]; labels: string[] } {
  const { choices } = row
  const texts: unknown = isObject(choices) ? choices.text : choices
  const labels: unknown = isObject(choices) ? choices.label : undefined
  const isTexts = (value: unknown): value is string[] =>
    Array.isArray(value) && value.every((one) => typeof one === "string")
  if (!isTexts(texts) || texts.length < 2)
    throw new InputError(`${where}: expected choices, a list of at least two texts`)
  return { texts, labels: isTexts(labels) ? labels : texts.map((_, i) => LETTERS[i] ?? `${i}`) }
}

/** The right one's index: a number, a label, or the text itself. */
function answerOf(row: JsonObject, texts: string[], labels: string[], where: string): number {
  const given = row.answerKey ?? row.answer ?? row.label
  const at =
    typeof given === "number"
      ? given
      : [labels.indexOf(String(given)), texts.indexOf(String(given))].find((i) => i >= 0)
  if (at !== undefined && texts[at] !== undefined) return at
  throw new InputError(
    `${where}: expected the answer to be an index, a letter or one of the choices, got ${JSON.stringify(given)}`,
  )
}

export interface ChoiceRow {
  readonly question: string
  readonly texts: readonly string[]
  readonly answer: number
}

/** A question with its choices, of a benchmark's row or a user's own. */
function choiceRow(row: JsonObject, where: string): ChoiceRow {
  const { texts, labels } = choicesOf(row, where)
  const question = field(row, ["question", "problem", "prompt"], where)
  return { question, texts, answer: answerOf(row, texts, labels, where) }
}

/** The answers themselves are compared. */
const asTexts = ({ question, texts, answer }: ChoiceRow): ChoiceGold => ({
  context: `Question: ${question}\nAnswer:`,
  choices: texts,
  answer,
  rule: "per-character",
})

/** All answers stand in the question, and their letters are compared. */
export const asLetters = ({ question, texts, answer }: ChoiceRow): ChoiceGold => ({
  context: `${question.trim()}\n${texts.map((text, i) => `${LETTERS[i]}. ${text}`).join("\n")}\nAnswer:`,
  choices: texts.map((_, i) => LETTERS[i]!),
  answer,
  rule: "likeliest",
})

type Source = Pick<Suite, "name" | "title" | "files" | "hub">

/** A benchmark of choices. */
export const choiceSuite = (
  source: Source,
  goldOf: (row: ChoiceRow) => ChoiceGold = asTexts,
): Suite => ({
  ...source,
  judge: "choices",
  read: (row, where) => {
    const read = choiceRow(row, where)
    const { id } = row
    return {
      problem: read.question,
      gold: JSON.stringify(goldOf(read)),
      ...(typeof id === "string" || typeof id === "number" ? { id: String(id) } : {}),
    }
  },
})
