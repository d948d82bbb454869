/** Many rows of training data, made of few: for ../prepare.ts. */
import { createWriteStream, existsSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { randomStream } from "../../src/random.ts"

export const SHAPES = ["plain", "chat"] as const
export type Shape = (typeof SHAPES)[number]

type Pair = readonly [question: string, answer: string]

/** Questions and answers of GSM8K and MATH; none where the files are absent. */
export function sharedTexts(folder: string): Pair[] {
  return ["gsm8k_train/train.jsonl", "math_train/train.jsonl"].flatMap((file) => {
    const path = join(folder, file)
    if (!existsSync(path)) return []
    const lines = readFileSync(path, "utf8").trim().split("\n")
    return lines.map((line): Pair => {
      const row = JSON.parse(line) as Record<string, string>
      return [row.question ?? row.problem!, row.answer ?? row.solution!]
    })
  })
}

interface RowsToWrite {
  readonly rows: number
  /** Of a row's texts, roughly. */
  readonly characters: number
  readonly shape: Shape
  readonly texts: readonly Pair[]
}

/** One row in so many repeats the one so many before it. */
const REPEATS_EVERY = 1_000

/** Writes the rows; says how many characters of text they have, without the JSON around it. */
export async function writeRows(
  path: string,
  { rows, characters, shape, texts }: RowsToWrite,
): Promise<{ characters: number; bytes: number; repeated: number }> {
  const file = createWriteStream(path)
  const random = randomStream(0, "rows")
  let written = 0
  let repeated = 0
  let kept: { readonly line: string; readonly length: number } | undefined
  for (let i = 0; i < rows; i++) {
    const repeats = i % REPEATS_EVERY === REPEATS_EVERY - 1 && kept !== undefined
    const row = repeats ? kept! : madeRow(texts, characters, shape, random)
    if (repeats) repeated++
    if (i % REPEATS_EVERY === 0) kept = row
    written += row.length
    if (!file.write(row.line)) await new Promise<void>((done) => file.once("drain", done))
  }
  await new Promise<void>((done) => file.end(done))
  return { characters: written, bytes: statSync(path).size, repeated }
}

function madeRow(texts: readonly Pair[], characters: number, shape: Shape, random: () => number) {
  const turns: Pair[] = []
  for (let length = 0; length < characters; ) {
    const [question, answer] = texts[Math.floor(random() * texts.length)]!
    const turn: Pair = [`${name(random)}: ${varied(question, random)}`, varied(answer, random)]
    turns.push(turn)
    length += turn[0].length + turn[1].length
  }
  const row =
    shape === "chat"
      ? {
          messages: turns.flatMap(([question, answer]) => [
            { role: "user", content: question },
            { role: "assistant", content: answer },
          ]),
        }
      : {
          prompt: turns.map(([question]) => question).join("\n\n"),
          completion: turns.map(([, answer]) => answer).join("\n\n"),
        }
  const said = Object.values<string | { content: string }[]>(row).flatMap((value) =>
    typeof value === "string" ? [value] : value.map((turn) => turn.content),
  )
  return {
    line: `${JSON.stringify(row)}\n`,
    length: said.reduce((sum, { length }) => sum + length, 0),
  }
}

/** The same text with other numbers. */
const varied = (text: string, random: () => number): string =>
  text.replaceAll(/\d+/g, (digits) => String(Math.floor(random() * 10 ** digits.length)))

const SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo zy".split(" ")

function name(random: () => number): string {
  const syllables = Array.from(
    { length: 2 + Math.floor(random() * 3) },
    () => SYLLABLES[Math.floor(random() * SYLLABLES.length)]!,
  )
  const word = syllables.join("")
  return word[0]!.toUpperCase() + word.slice(1)
}
