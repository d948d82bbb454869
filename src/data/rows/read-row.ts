import type { DataFormat } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { describeValue, isObject, type JsonObject } from "../../formats/json.ts"
import { REASONING } from "../../text/chat-template.ts"
import { type Columns, renamed } from "./columns.ts"
import { type Example, isPaired, type Message, messagesOf, type Purpose } from "./example.ts"
import { refuseMedia, says } from "./media.ts"
import { agreesToTraining, hasVerdict, marginOf, refusalOf, verdictOf } from "./not-trained.ts"
import { withPictures } from "./pictures.ts"
import { PREFERENCE, type Shape, SUPERVISED } from "./shapes.ts"
import { has } from "./values.ts"

/** A row as it was understood. */
export interface RowReading {
  readonly example: Example
  /** How often the row counts (`data.columns.row_weight`); 1 for most. */
  readonly weight: number
  /** 1 or 0 of a labelled answer, the reward of a rewarded one, the margin of a pair to score. */
  readonly value?: number
  /** The key and value by which the row says that it is not to be trained. */
  readonly refusal?: string
  /** Keys that say something and that nothing was made of. */
  readonly unused: readonly string[]
  /** Keys of its messages that say something, and that only a template can make something of. */
  readonly messageKeys: readonly string[]
}

export interface ReadRowOptions {
  readonly format: DataFormat
  readonly purpose: Purpose
  readonly columns?: Columns
  readonly implicitPrompt?: boolean
  /** Pictures are read, into the messages where they stand; else a row with one is refused. */
  readonly pictures?: boolean
  /** `file:line`, for messages. */
  readonly where: string
}

const EXPECTED: Readonly<Record<DataFormat, string>> = {
  auto: "messages; prompt and completion; instruction and output; conversations; problem and solution; question and answer; query and response; input and output; text; or chosen and rejected (data.columns says which column is which)",
  messages: "messages",
  "prompt-completion": "prompt and completion, or prompt and response",
  alpaca: "instruction and output",
  sharegpt: "conversations",
  "problem-solution": "problem and solution, question and answer, or query and response",
  text: "text",
  preference: "chosen and rejected",
  unpaired: "an answer (prompt and completion, messages, ...) with label, true or false",
}

/**
 * Tells a row's shape by its keys and reads it.
 *
 * @throws InputError with `where`, what was expected and what came.
 */
export function readRow(row: unknown, options: ReadRowOptions): Example {
  return rowReading(row, options).example
}

/** As `readRow`, with what else the row says. */
export function rowReading(
  value: unknown,
  {
    format,
    purpose,
    columns = {},
    implicitPrompt = false,
    pictures = false,
    where,
  }: ReadRowOptions,
): RowReading {
  if (!isObject(value)) {
    throw new InputError(`${where}: expected a row to be an object, got ${describeValue(value)}`)
  }
  const row = renamed(value, columns, where)
  refuseMedia(row, { columns, pictures, where })
  const shapes = isPaired(purpose) ? [PREFERENCE] : SUPERVISED
  const shape = shapes.find(
    (candidate) =>
      isOfFormat(candidate, row, format) && candidate.keys.every((key) => has(row, key)),
  )
  const isPair = has(row, "chosen") && has(row, "rejected")
  const isAnswered = shape !== undefined && !shape.keys.some((key) => isUnanswered(row[key]))
  if (purpose === "supervised" && isPair && !isAnswered) {
    throw new InputError(
      `${where}: expected rows to imitate, got a preference row (chosen, rejected); use objective: dpo`,
    )
  }
  if (shape === undefined) {
    throw new InputError(
      `${where}: ${unrecognised(row, isPaired(purpose) ? "preference" : format)}${elsewhere(row, purpose)}`,
    )
  }
  const read = shape.read(row, where, { implicitPrompt })
  const pictured = pictures && columns.images !== null
  const { example, used } = pictured
    ? withPictures(read.example, row, where)
    : { example: read.example, used: [] }
  const weight = weightOf(row, columns, where)
  const excluded =
    purpose === "supervised" ? refusalOf(row, { isAnswer: shape.format !== "text" }) : undefined
  const silent = purpose === "supervised" ? silence(example) : undefined
  const refusal = weight.value === 0 ? "row_weight: 0" : (excluded?.why ?? silent)
  const judged = judgement(row, purpose, where)
  return {
    example,
    weight: weight.value,
    ...(judged ? { value: judged.value } : {}),
    ...(refusal === undefined ? {} : { refusal }),
    unused: leftOver(row, [
      ...[...read.used, ...used, ...weight.used, ...(judged?.used ?? [])],
      ...(excluded ? [excluded.key] : []),
    ]),
    messageKeys: messageKeys(example),
  }
}

/** `unpaired` are answers of any shape that are labelled good or bad. */
const isOfFormat = (shape: Shape, row: JsonObject, format: DataFormat): boolean =>
  format === "unpaired"
    ? shape.format !== "text" && shape !== PREFERENCE && hasVerdict(row)
    : format === "auto" || format === shape.format

/** What the row says of its answers by a number, where the purpose asks. */
function judgement(row: JsonObject, purpose: Purpose, where: string) {
  if (purpose === "labels" || purpose === "rewards") return verdictOf(row, purpose, where)
  return purpose === "scores" ? marginOf(row, where) : undefined
}

/** A chat without an answer in it: the answers are the pair. */
const isUnanswered = (value: unknown): boolean =>
  Array.isArray(value) &&
  !value.some(
    (turn: unknown) =>
      isObject(turn) &&
      [turn.role, turn.from].some(
        (name) => typeof name === "string" && /^(assistant|gpt|model|bot|chatgpt)$/i.test(name),
      ),
  )

/** Nothing is left to train of a chat whose every answer says that it is not to be trained. */
function silence(example: Example): string | undefined {
  if ((example.kind !== "chat" && example.kind !== "completion") || !example.context)
    return undefined
  const { context, kind } = example
  if (kind === "completion" && typeof example.prompt === "string") return undefined
  const before = kind === "chat" ? [] : (example.prompt as readonly Message[])
  const said = kind === "chat" ? example.messages : (example.completion as readonly Message[])
  const trained = said.some(
    ({ role }, i) => role === "assistant" && !context.includes(before.length + i),
  )
  return trained ? undefined : "all of their messages"
}

/** `data.columns.row_weight`, also called `weight` there: a number from 0. */
function weightOf(row: JsonObject, columns: Columns, where: string) {
  const name = ["row_weight", "weight"].find((key) => typeof columns[key] === "string")
  if (name === undefined) return { value: 1, used: [] }
  const given = row[name]
  const value = typeof given === "string" && given.trim() !== "" ? Number(given) : given
  if (typeof value === "number" && Number.isFinite(value) && value >= 0 && value <= MAX_WEIGHT)
    return { value, used: [name] }
  throw new InputError(
    `${where}: expected "${columns[name]}" (data.columns.${name}) to be a number from 0 to ${MAX_WEIGHT}, got ${describeValue(given)}`,
  )
}

const MAX_WEIGHT = 1000

function leftOver(row: JsonObject, used: readonly string[]): string[] {
  return Object.entries(row)
    .filter(([key, value]) => !used.includes(key) && says(value) && !agreesToTraining(key, value))
    .map(([key]) => key)
}

/**
 * Read here, looked for in the text by lints of their own, or numbers of the conversation's
 * records.
 */
const KNOWN_MESSAGE_KEYS = new Set([
  ...["role", "content", "pictures", "tool_calls", ...REASONING],
  ...["tool_call_id", "id", "index", "type"],
])

function messageKeys(example: Example): string[] {
  const told = new Set<string>()
  for (const message of messagesOf(example)) {
    for (const [key, value] of Object.entries(message)) {
      const isName = key === "name" && message.role === "tool"
      if (!KNOWN_MESSAGE_KEYS.has(key) && !isName && says(value)) told.add(key)
    }
  }
  return [...told]
}

const PARTNER: Readonly<Record<string, string>> = {
  prompt: "completion",
  completion: "prompt",
  instruction: "output",
  problem: "solution",
  question: "answer",
  query: "response",
  chosen: "rejected",
  rejected: "chosen",
}

/** What takes a row that the purpose does not. */
function elsewhere(row: JsonObject, purpose: Purpose): string {
  const isPair = has(row, "chosen") && has(row, "rejected")
  if (isPair && purpose === "labels") {
    return ". Pairs are trained with objective: dpo; or write each as two rows, prompt and completion with label, true for chosen and false for rejected"
  }
  if (isPair && purpose === "rewards") {
    return ". Pairs are trained with objective: dpo; or write each as two rows with their rewards"
  }
  if (!isPaired(purpose) || isPair) return ""
  if (hasVerdict(row)) return ". Labelled answers are trained with objective: kto"
  const isShaped = SUPERVISED.some(({ keys }) => keys.every((key) => has(row, key)))
  return isShaped ? ". Rows to imitate are trained with objective: sft or dft" : ""
}

/** Why no shape fits: the keys that are there, and the one that is missing when most are. */
function unrecognised(row: JsonObject, format: DataFormat): string {
  const keys = Object.keys(row)
  const wanted = format === "preference" ? ["chosen", "rejected"] : Object.keys(PARTNER)
  const lone = keys.find((key) => wanted.includes(key) && has(row, key) && !has(row, PARTNER[key]!))
  const shown = keys
    .slice(0, 12)
    .map((key) => `${JSON.stringify(key.slice(0, 40))}${row[key] === null ? " (null)" : ""}`)
  const missing = lone === undefined ? "" : `; it has "${lone}" but no "${PARTNER[lone]}"`
  const empty = lone !== undefined && keys.includes(PARTNER[lone]!) ? " (it is null)" : ""
  const got =
    keys.length === 0
      ? "an empty row"
      : `the keys ${shown.join(", ")}${keys.length > 12 ? ", ..." : ""}`
  return `expected ${EXPECTED[format]}; got ${got}${missing}${empty}`
}
