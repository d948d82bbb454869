import { expect, test } from "vitest"
import { PatternReader, patternOf } from "../../src/run/line-pattern.ts"
import { parseEvent } from "../../src/run/run-folder.ts"
import { emptyIndex, type RunIndex, take } from "../../src/run/run-index.ts"
import { LineTaker } from "../../src/run/take-lines.ts"
import { fc } from "../seeded-check.ts"
import { stepEvent } from "../server/run-events.ts"

/** Each line by itself, as an event. */
function oneByOne(lines: readonly string[]) {
  const index = emptyIndex()
  const events = lines.map(parseEvent)
  for (const event of events) if (event) take(index, event)
  const last = events.findLastIndex((event) => event !== undefined)
  return { index, last: last < 0 ? undefined : lines[last] }
}

/** As the server reads them: in pieces, each of whole lines. */
function together(lines: readonly string[], pieces: number) {
  const index = emptyIndex()
  const taker = new LineTaker(index)
  const size = Math.ceil(lines.length / pieces)
  let last: string | undefined
  for (let i = 0; i < lines.length; i += size) {
    const bytes = Buffer.from(`${lines.slice(i, i + size).join("\n")}\n`)
    const place = taker.take(bytes)
    if (place) last = bytes.toString("utf8", place.start, place.end - 1)
  }
  return { index, last }
}

const comparable = ({ summary, details }: RunIndex) => ({
  ...{ summary, details },
  columns: Object.fromEntries([...details.columns].sort(([a], [b]) => (a < b ? -1 : 1))),
})

function expectTheSame(lines: readonly string[], pieces = 1): void {
  const right = oneByOne(lines)
  const found = together(lines, pieces)
  expect(comparable(found.index)).toEqual(comparable(right.index))
  expect(found.last).toBe(right.last)
}

const TIME = '"2026-01-01T00:00:0'
const NUMBER = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(JSON.stringify),
  fc.integer().map(String),
  fc.constantFrom(
    "null",
    "-0",
    "1e400",
    "1E+2",
    "12e-3",
    "0.1e-30",
    "9007199254740993",
    "123456789012345678901",
  ),
  fc.constantFrom("01", "1.", "-", ".5", "+1", "1e", '"3"', "[1]", "{}", "NaN"), // no numbers here
)

test("a number is JSON.parse's to the last bit, and what JSON knows no number in is none", () => {
  fc.assert(
    fc.property(NUMBER, (written) => {
      const reader = new PatternReader(patternOf(Buffer.from('{"a":1}\n')))
      const text = `{"a":${written}}\n`
      const end = reader.read({ bytes: Buffer.from(text), text }, 0)
      const isNumber = /^-?\d/.test(written) && !["01", "1.", "1e"].includes(written)
      expect(end).toBe(isNumber ? text.length : undefined)
      if (isNumber) expect(reader.numbers[0]).toBe(Number(JSON.parse(written)))
    }),
    { numRuns: 1000 },
  )
})

const GIVEN = ["type", "step", "time", "nll", "loss", "mean_p"]
const rest = Object.entries(stepEvent(1)).filter(([key]) => !GIVEN.includes(key))
const FIXED = JSON.stringify(Object.fromEntries(rest)).slice(1, -1)
const NLL = `"nll":#`
/** Twice the same key, keys that JavaScript orders anew, groups, a group's name as one outside. */
const ALSO = [
  ...[NLL, `"7":#,"3":#`, `"sources":{"ä":#,"b":#}`, `"sources":{"b":#}`],
  ...[`"g.a":#,"g":{"a":#}`, `"time": ${TIME}#Z"`, `"time":"\\u004#"`, `"special_p":null`],
]
/** A line with # where numbers come. */
const STEP = fc
  .subarray(ALSO, { maxLength: 2 })
  .chain((also) => fc.shuffledSubarray([`"step":#`, NLL, `"loss":#`, ...also], { minLength: 3 }))
  .map((keys) => `{"type":"step",${FIXED},${keys.join(",")}}`)
const HISTOGRAM = fc
  .tuple(
    fc.constantFrom("train", String.raw`an \"ü\"`),
    fc.constantFrom("#", "#,#,#", "#,null,#", ""),
  )
  .map(
    ([name, bins]) =>
      `{"type":"histogram","step":#,"name":"${name}","time":${TIME}#Z","bins":[${bins}],"small_bins":[#]}`,
  )
const OTHER = fc.constantFrom(
  "",
  "no JSON",
  "{}",
  '{"type":"eval","step":#,"name":"a","nll":1}',
  "ä",
)
const COUNT = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 0, max: 9 }).map(String) }, NUMBER)

test("lines taken together make the index that each makes as an event", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof({ weight: 3, arbitrary: STEP }, HISTOGRAM, OTHER), {
        ...{ minLength: 1, maxLength: 4 },
      }),
      fc.array(fc.tuple(fc.nat(), fc.array(COUNT, { minLength: 9, maxLength: 9 })), {
        ...{ minLength: 8, maxLength: 24 },
      }),
      fc.integer({ min: 1, max: 3 }),
      (shapes, drawn, pieces) => {
        const lines = drawn.map(([shape, numbers]) => {
          let next = 0
          return shapes[shape % shapes.length]!.replace(/#/g, () => numbers[next++ % 9]!)
        })
        expectTheSame(lines, pieces)
      },
    ),
    { numRuns: 200 },
  )
})
