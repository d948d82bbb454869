/** The lines of an events.jsonl into a run's index, most of them without an event made of each. */
import type { RunEvent } from "./events.ts"
import { type Lines, PatternReader, patternOf, placesIn } from "./line-pattern.ts"
import { parseEvent } from "./run-folder.ts"
import { eventNumbers, fillRow, type RunIndex, take } from "./run-index.ts"
import { addHistogram, addValue } from "./thinned.ts"

type Of<Type extends RunEvent["type"]> = Extract<RunEvent, { type: Type }>

/** Lines like one that was taken before, and what is done with the numbers of such a line. */
interface Known {
  readonly type: RunEvent["type"]
  readonly reader: PatternReader
  /** Where the event's step stands among them. */
  readonly step: number
  readonly take: (numbers: readonly number[]) => void
}

export interface Place {
  readonly start: number
  readonly end: number
}

/** Of one run: its steps, and histograms of training and of some evaluations. */
const MOST_KNOWN = 8

export class LineTaker {
  readonly #index: RunIndex
  readonly #known: Known[] = []
  #learned = 0
  /** A step that is in the columns and of which no event was made. */
  #lastStep: Buffer | undefined

  constructor(index: RunIndex) {
    this.#index = index
  }

  /** Whole lines; where the last of them lies that is an event. */
  take(bytes: Buffer): Place | undefined {
    const lines = { bytes, text: bytes.toString("latin1") }
    let last: Place | undefined
    for (let start = 0; start < bytes.length; ) {
      let end = this.#takeKnown(lines, start)
      if (end !== undefined) last = { start, end }
      else {
        end = bytes.indexOf(0x0a, start) + 1
        if (this.#takeOther(bytes.subarray(start, end))) last = { start, end }
      }
      start = end
    }
    this.#tellStep()
    return last
  }

  /** The byte after the line; undefined where it is like none before. */
  #takeKnown(lines: Lines, start: number): number | undefined {
    for (const { type, reader, step, take } of this.#known) {
      const end = reader.read(lines, start)
      if (end === undefined) continue
      if (!isCount(reader.numbers[step]!)) return undefined
      take(reader.numbers)
      if (type === "step") this.#lastStep = lines.bytes.subarray(start, end)
      return end
    }
    return undefined
  }

  /** Whether it is an event. */
  #takeOther(line: Buffer): boolean {
    const event = parseEvent(line.toString())
    if (!event) return false
    this.#tellStep()
    take(this.#index, event)
    if (this.#learned < MOST_KNOWN) {
      const known = knownAs(event.type, line, this.#index)
      if (known) this.#learned = this.#known.push(known)
    }
    return true
  }

  #tellStep(): void {
    if (!this.#lastStep) return
    this.#index.summary.step = parseEvent(this.#lastStep.toString()) as Of<"step">
    this.#lastStep = undefined
  }
}

const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0

/** Undefined for what is rare, and for lines whose numbers cannot be told apart by their places. */
function knownAs(type: RunEvent["type"], line: Buffer, index: RunIndex): Known | undefined {
  if (type === "step") return knownStep(line, index)
  if (type === "histogram") return knownHistogram(line, index)
  return undefined
}

function knownStep(line: Buffer, { summary, details: { columns } }: RunIndex): Known | undefined {
  const pattern = patternOf(line)
  const { time, ...places } = placesIn(pattern) as Of<"step">
  const names: string[] = []
  for (const [name, place] of eventNumbers(places as Of<"step">)) names[place] = name
  if (time !== undefined) names[Number(time)] = "time"
  // fewer where a key is there twice, and a gap has no name
  if (new Set(Object.values(names)).size !== pattern.isTime.length) return undefined
  const lists = names.map((name) => columns.get(name)!)
  const [step, nll] = [names.indexOf("step"), names.indexOf("nll")]
  return {
    ...{ type: "step", reader: new PatternReader(pattern), step },
    take(numbers) {
      const before = lists[step]!.length
      for (let i = 0; i < lists.length; i++) lists[i]!.push(numbers[i]!)
      if (columns.size > lists.length) fillRow(columns, before)
      if (nll >= 0 && Number.isFinite(numbers[nll])) addValue(summary.nll, numbers[nll]!)
    },
  }
}

function knownHistogram(line: Buffer, { details }: RunIndex): Known | undefined {
  const pattern = patternOf(line)
  const { name, step, bins, small_bins } = placesIn(pattern) as Of<"histogram">
  const places = [...small_bins, ...bins]
  if (places.includes(null as never)) return undefined
  const all = details.histograms.get(name)!
  const counts = places.map(() => 0)
  return {
    ...{ type: "histogram", reader: new PatternReader(pattern), step },
    take(numbers) {
      for (let i = 0; i < places.length; i++) counts[i] = numbers[places[i]!]!
      addHistogram(all, { step: numbers[step]!, counts })
    },
  }
}
