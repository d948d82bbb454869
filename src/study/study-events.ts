/** What a study says while it goes: one file of lines for each model that is asked. */
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { parseJson } from "../formats/json.ts"
import { readTextFile } from "../formats/json-files.ts"
import { openLineFile } from "../formats/line-file.ts"
import type { Contrast } from "./contrasts.ts"
import { isStudyEvent } from "./event-fields.ts"
import type { Decoding } from "./study-schema.ts"

interface EventBase {
  /** ISO 8601. */
  readonly time: string
}

/** The comparisons that were named; a later one names what was added. */
export interface ContrastsEvent extends EventBase {
  readonly type: "study.contrasts"
  readonly study: string
  readonly about: string
  readonly limits: string
  readonly arms: readonly string[]
  readonly seeds: readonly number[]
  readonly contrasts: readonly Contrast[]
  /** Whether a final run had been asked already. */
  readonly after_results: boolean
}

interface CellEvent extends EventBase {
  readonly cell: string
  readonly arm: string
  readonly stage: "base" | "choose" | "final"
  readonly seed: number | null
}

export interface CellStart extends CellEvent {
  readonly type: "cell.start"
  /** Hash of the run's config and of what is asked. */
  readonly design: string
  /** Of its config alone; the first studies do not say it. */
  readonly config?: string
  readonly settings: Readonly<Record<string, unknown>>
  /** Of a final run whose values were chosen: what they are called. */
  readonly chosen?: string
}

export interface ScoreEvent extends CellEvent {
  readonly type: "score"
  readonly evaluation: string
  readonly decoding: Decoding
  /** By problem, a digit a sample: 1 right, 0 wrong. */
  readonly outcomes: Readonly<Record<string, string>>
  /** Of a completion, mean. */
  readonly tokens: number | null
  /** Share of the completions that ended by themselves. */
  readonly ended: number
  /** Hash of what was asked, without the decoding; the first studies do not say it. */
  readonly asked?: string
}

export interface LossEvent extends CellEvent {
  readonly type: "loss"
  readonly name: string
  /** By row: nats and tokens. */
  readonly rows: Readonly<Record<string, readonly [nll: number, tokens: number]>>
  /** Hash of what was measured; the first studies do not say it. */
  readonly asked?: string
}

export interface CellEnd extends CellEvent {
  readonly type: "cell.end"
  readonly reason: "done" | "failed"
  readonly seconds: number
  /** Which of the values to choose from it had. */
  readonly candidate: string | null
  readonly message?: string
}

export type StudyEvent = ContrastsEvent | CellStart | ScoreEvent | LossEvent | CellEnd

const MAX_BYTES = 500e6

/** Every event of a study's folder, or of one file of events. */
export async function readStudyEvents(place: string): Promise<StudyEvent[]> {
  const folder = join(place, "events")
  const files = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => name.endsWith(".jsonl"))
        .sort()
        .map((name) => join(folder, name))
    : existsSync(place) && place.endsWith(".jsonl")
      ? [place]
      : []
  const all: StudyEvent[] = []
  for (const file of files) {
    const text = await readTextFile(file, MAX_BYTES)
    // a last line without its newline is a write that was cut off
    const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n")
    for (const [i, line] of lines.entries()) {
      if (line === "") continue
      const event = parseJson(line, `${file}:${i + 1}`)
      if (!isStudyEvent(event)) {
        throw new InputError(
          `${file}:${i + 1}: expected an event of a study; the file was changed or damaged`,
        )
      }
      all.push(event as StudyEvent)
    }
  }
  return all
}

type Unstamped<E> = E extends StudyEvent ? Omit<E, "time"> : never

/** Appends to the events of a cell, or of the study itself. */
export function studyLog(folder: string, name: string) {
  const file = openLineFile(join(folder, "events", `${name}.jsonl`))
  return {
    /** @throws InputError for what no study could read again, such as a number that is none */
    append(event: Unstamped<StudyEvent>): void {
      const stamped = { ...event, time: new Date().toISOString() }
      if (!isStudyEvent(stamped))
        throw new InputError(
          `${event.type} of ${name}: holds no result; a model that diverged has none`,
        )
      file.append(JSON.stringify(stamped))
      file.flush()
    },
    close: () => file.close(),
  }
}
