import { InputError } from "../../errors.ts"
import { isObject, type JsonObject } from "../../formats/json.ts"
import type { ChoiceGold } from "../choices.ts"
import { field, type Suite } from "./suite.ts"

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/** Texts under `choices`, as a list or as ARC's `{ text, label }`. */
function choicesOf(row: JsonObject, where: string): { texts: string[]; labels?: string[] } {
  const { choices } = row
  const texts: unknown = isObject(choices) ? choices.text : choices
  const labels: unknown = isObject(choices) ? choices.label : undefined
  const isTexts = (value: unknown): value is string[] =>
    Array.isArray(value) && value.every((one) => typeof one === "string")
  if (!isTexts(texts) || texts.length < 2)
    throw new InputError(`${where}: expected choices, a list of at least two texts`)
  // some files have numbers for labels
  return Array.isArray(labels) ? { texts, labels: labels.map(String) } : { texts }
}

/** The right one's index: the row's own label, a number, a letter, or the text itself. */
function answerOf(
  row: JsonObject,
  { texts, labels }: ReturnType<typeof choicesOf>,
  where: string,
): number {
  const given = row.answerKey ?? row.answer ?? row.label
  const labelled = labels?.indexOf(String(given)) ?? -1
  const written = texts.indexOf(String(given))
  const letter = labels || typeof given === "number" ? -1 : LETTERS.indexOf(`${given}` || " ")
  if (written >= 0 && texts[letter] !== undefined && letter !== written)
    throw new InputError(
      `${where}: the answer ${JSON.stringify(given)} is the letter of one choice and the text of another; give its index, ${letter} or ${written}`,
    )
  const counted = typeof given === "number" ? given : -1
  const at = [labelled, counted, letter, written].find((i) => texts[i] !== undefined)
  if (at !== undefined) return at
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
  const choices = choicesOf(row, where)
  const question = field(row, ["question", "problem", "prompt"], where)
  return { question, texts: choices.texts, answer: answerOf(row, choices, where) }
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
    const gold = goldOf(read)
    // of nothing there is no probability
    if (gold.choices.some((text) => text.trim() === ""))
      throw new InputError(`${where}: choices: expected texts, got an empty one`)
    const { id } = row
    return {
      problem: read.question,
      gold: JSON.stringify(gold),
      ...(typeof id === "string" || typeof id === "number" ? { id: String(id) } : {}),
    }
  },
})
