import type { NoiseConfig } from "../config/index.ts"
import { randomStream } from "../random.ts"
import type { Example, Message, RowReading, Turns } from "./rows/index.ts"

/** A row as it was read, and whether it is to be made wrong. */
interface NumberedReading {
  readonly line: number
  readonly reading: RowReading
}

/** What noise did to a row: nothing, its change, or that nothing in it could be changed. */
export type Noised =
  | { readonly note: undefined; readonly reading: RowReading }
  | { readonly note: "noise" | "noise-impossible"; readonly reading: RowReading }

/** A number from 0 to 1, and how to make the row wrong. */
interface Draw {
  readonly draw: number
  /** undefined where nothing in the row can be changed. */
  readonly changed: () => RowReading | undefined
}

/**
 * Makes a share of the rows wrong on purpose, the same rows in the same way each time: a row's draw
 * depends on the seed, the file's name and its line alone, so that rows before or after it change
 * nothing.
 *
 * @param wrong lines of the rows to make wrong; left out, those whose draw is below the share
 */
export function noised(
  rows: readonly NumberedReading[],
  noise: NoiseConfig,
  path: string,
  wrong?: ReadonlySet<number>,
): Noised[] {
  return rows.map(({ line, reading }, i) => {
    const { draw, changed } = drawn(rows, i, noise, path)
    const isWrong = wrong === undefined ? draw < noise.share : wrong.has(line)
    if (!isWrong) return { note: undefined, reading }
    const found = changed()
    return found === undefined
      ? { note: "noise-impossible", reading }
      : { note: "noise", reading: found }
  })
}

/** The draws of the rows that can be made wrong. */
export function changeable(
  rows: readonly NumberedReading[],
  noise: NoiseConfig,
  path: string,
): { readonly line: number; readonly draw: number }[] {
  return rows.flatMap(({ line }, i) => {
    const { draw, changed } = drawn(rows, i, noise, path)
    return changed() === undefined ? [] : [{ line, draw }]
  })
}

function drawn(
  rows: readonly NumberedReading[],
  i: number,
  { kind, seed }: NoiseConfig,
  path: string,
): Draw {
  const { line, reading } = rows[i]!
  const random = randomStream(seed, `noise:${path.split(/[\\/]/).at(-1)}:${line}`)
  const draw = random()
  const changed = () => {
    if (kind !== "swapped-labels")
      return rewritten(reading, (text) =>
        kind === "wrong-answers" ? wrongAnswer(text, random) : wrongStep(text, random),
      )
    const others = [...rows.slice(i + 1), ...rows.slice(0, i)].map((other) => other.reading)
    return swapped(reading, others)
  }
  return { draw, changed }
}

/**
 * A pair's sides exchanged, a label turned round, or the answer of the next row that has another.
 */
function swapped(reading: RowReading, others: readonly RowReading[]): RowReading | undefined {
  const { example, value } = reading
  if (example.kind === "preference") {
    const { chosen, rejected } = example
    return { ...reading, example: { ...example, chosen: rejected, rejected: chosen } }
  }
  if (value === 0 || value === 1) return { ...reading, value: 1 - value }
  const own = answerOf(example)
  const other = others.map((row) => answerOf(row.example)).find((text) => text && text !== own)
  return own === undefined || other === undefined ? undefined : rewritten(reading, () => other)
}

/** The reading with its answer rewritten; undefined where `rewrite` finds nothing to change. */
function rewritten(
  reading: RowReading,
  rewrite: (answer: string) => string | undefined,
): RowReading | undefined {
  const answer = answerOf(reading.example)
  const text = answer === undefined ? undefined : rewrite(answer)
  if (text === undefined || text === answer) return undefined
  return { ...reading, example: withAnswer(reading.example, text) }
}

/** What is said last: the completion, the chosen answer, the last turn of a chat, or the text. */
function answerOf(example: Example): string | undefined {
  switch (example.kind) {
    case "text":
      return example.text
    case "chat":
      return lastSaid(example.messages)
    case "completion":
      return lastSaid(example.completion)
    case "preference":
      return lastSaid(example.chosen)
  }
}

function withAnswer(example: Example, text: string): Example {
  switch (example.kind) {
    case "text":
      return { ...example, text }
    case "chat":
      return { ...example, messages: withLastSaid(example.messages, text) as readonly Message[] }
    case "completion": {
      const { sampled, ...rest } = example // its ids say what it said before
      const own = sampled && { sampled: { ...sampled, tokenIds: null } }
      return { ...rest, completion: withLastSaid(example.completion, text), ...own }
    }
    case "preference":
      return { ...example, chosen: withLastSaid(example.chosen, text) }
  }
}

const isAssistant = ({ role }: Message): boolean => role === "assistant"

function lastSaid(turns: Turns): string | undefined {
  if (typeof turns === "string") return turns
  const content: unknown = turns.findLast(isAssistant)?.content
  return typeof content === "string" ? content : undefined
}

function withLastSaid(turns: Turns, text: string): Turns {
  if (typeof turns === "string") return text
  const last = turns.findLastIndex(isAssistant)
  return turns.map((turn, i) => (i === last ? { ...turn, content: text } : turn))
}

/** A number with its sign, thousands' commas and decimals; no part of a word or a longer number. */
const NUMBER = /(?<![\w.,])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w]|[.,]\d)/g
/** Where an answer is marked: GSM8K's line, MATH's box. */
const MARKED = /(?:####\s*\$?|\\boxed\{\s*\$?)(-?\d+(?:,\d{3})*(?:\.\d+)?)/g

/** Another final number, everywhere from the start of the line that says it. */
function wrongAnswer(text: string, random: () => number): string | undefined {
  const marked = [...text.matchAll(MARKED)].at(-1)
  const said = marked ?? [...text.matchAll(NUMBER)].at(-1)
  if (said === undefined) return undefined
  const last = marked?.[1] ?? said[0]
  const end = said.index + said[0].length
  const start = text.lastIndexOf("\n", end - 1) + 1
  const wrong = anotherNumber(last, random)
  const marks = text
    .slice(start)
    .replaceAll(MARKED, (found, number: string) =>
      number === last ? found.slice(0, found.length - number.length) + wrong : found,
    )
  return (
    text.slice(0, start) + marks.replaceAll(NUMBER, (found) => (found === last ? wrong : found))
  )
}

/** A result on the way, `= 24` or GSM8K's `<<48/2=24>>24`; what follows from it stays as it was. */
const STEP = /=\s*\$?(-?\d+(?:,\d{3})*(?:\.\d+)?)(?![\w]|[.,]\d)(>>\1(?![\w]|[.,]\d))?/g

function wrongStep(text: string, random: () => number): string | undefined {
  const steps = [...text.matchAll(STEP)]
  const answer = [...text.matchAll(MARKED)].at(-1)?.[1] ?? steps.at(-1)?.[1]
  const onTheWay = steps.filter(([, number]) => number !== answer)
  const step = onTheWay[Math.floor(random() * onTheWay.length)]
  if (step === undefined) return undefined
  const [found, number] = step as unknown as [string, string]
  const wrong = found.replaceAll(number, anotherNumber(number, random))
  return text.slice(0, step.index) + wrong + text.slice(step.index + found.length)
}

/** A number near another, written as that is; never negative where that is not. */
function anotherNumber(written: string, random: () => number): string {
  const plain = written.replaceAll(",", "")
  const decimals = plain.split(".")[1]?.length ?? 0
  const digits =
    plain.replace(/\D/g, "").length > EXACT_DIGITS
      ? anotherLongNumber(plain, random)
      : anotherShortNumber(Number(plain), decimals, random)
  return written.includes(",") ? withThousands(digits) : digits
}

function withThousands(number: string): string {
  const [, sign = "", whole = "", rest = ""] = /^(-?)(\d+)(.*)$/.exec(number)!
  const first = whole.length % 3 || 3
  const groups = whole.slice(first).match(/\d{3}/g) ?? []
  return `${sign}${[whole.slice(0, first), ...groups].join(",")}${rest}`
}

/** Every number of so many digits is one of its own in float64. */
const EXACT_DIGITS = 15

function anotherShortNumber(value: number, decimals: number, random: () => number): string {
  const most = Math.max(3, Math.round(Math.abs(value) / 4))
  const away = (1 + Math.floor(random() * most)) / (decimals > 0 && most === 3 ? 10 ** decimals : 1)
  const lower = value - away
  const isLower = random() < 0.5 && (value < 0 || lower >= 0)
  return (isLower ? lower : value + away).toFixed(decimals)
}

/** The first digits are those of a number near theirs; sign, point and the others stay. */
function anotherLongNumber(plain: string, random: () => number): string {
  const [, sign = "", all = ""] = /^(-?)(.*)$/.exec(plain)!
  const point = all.indexOf(".")
  const digits = all.replace(".", "")
  const head = digits.slice(0, EXACT_DIGITS)
  const near = anotherShortNumber(Number(head), 0, random).padStart(head.length, "0")
  const changed = near + digits.slice(EXACT_DIGITS)
  const decimals = point < 0 ? 0 : all.length - point - 1
  const whole = changed.length - decimals
  return `${sign}${changed.slice(0, whole)}${decimals > 0 ? `.${changed.slice(whole)}` : ""}`
}
