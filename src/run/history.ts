/** What a resumed run finds of itself: every step is told once, and nothing is lost. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { replaceFileNow } from "../formats/atomic.ts"
import { openLineFile } from "../formats/line-file.ts"
import { plainBytes } from "../formats/plain-file.ts"
import type { RunEvent } from "./events.ts"
import { RUN_FILES, SUPERSEDED_FILES } from "./run-files.ts"

/** A long run's events; what a buffer can hold. */
const MOST_BYTES = 2 ** 32

interface Line {
  readonly text: Buffer
  /** undefined: no event; it stays where it is. */
  readonly event: Pick<RunEvent, "type" | "step"> | undefined
}

/** Whole lines; as bytes, because a long run's events are more than one text can hold. */
function linesOf(path: string): Line[] {
  if (!existsSync(path)) return []
  const bytes = plainBytes(path, MOST_BYTES)
  const lines: Line[] = []
  for (let start = 0; ; ) {
    const end = bytes.indexOf(0x0a, start)
    if (end < 0) return lines
    const text = bytes.subarray(start, end)
    lines.push({ text, event: parsed(text.toString("utf8")) })
    start = end + 1
  }
}

function parsed(text: string): Line["event"] {
  try {
    const value: unknown = JSON.parse(text)
    const isEvent = typeof value === "object" && value !== null && "type" in value
    const { step } = value as { step?: unknown }
    return isEvent && typeof step === "number" ? (value as RunEvent) : undefined
  } catch {
    return undefined
  }
}

/**
 * Which lines tell of what happens again when a run goes on after `step`: all later ones, and
 * those that an earlier resume of 0.1.0 left standing. From the beginning (0) all happens again.
 */
function overtaken(lines: readonly Line[], step: number): Set<number> {
  const gone = new Set<number>()
  const goesBackTo = (at: number, before: number) => {
    for (let i = 0; i < before; i++) {
      const { event } = lines[i]!
      if (event && (at === 0 || event.step > at)) gone.add(i)
    }
  }
  for (const [i, { event }] of lines.entries()) {
    if (event?.type === "run.start") goesBackTo(event.step, i)
  }
  goesBackTo(step, lines.length)
  for (const i of rolloutsAfter(lines, step)) gone.add(i)
  return gone
}

/**
 * A rollout is told before the first step that trains on it, under the number of the step before.
 * One that came after the checkpoint of that step is made again, with what was said of it.
 */
function rolloutsAfter(lines: readonly Line[], step: number): number[] {
  const saved = lines.findLastIndex(
    ({ event }) => event?.type === "checkpoint" && event.step === step,
  )
  const later = lines.slice(saved + 1)
  const first = later.findIndex(
    ({ event }) => event && BEGINS.has(event.type) && event.step === step,
  )
  if (saved < 0 || first < 0) return []
  return later.flatMap(({ event }, i) => {
    const isOfIt = i >= first && event?.step === step && OF_ROLLOUTS.has(event.type)
    return isOfIt ? [saved + 1 + i] : []
  })
}

const BEGINS: ReadonlySet<string> = new Set(["rollout", "replay"])
const OF_ROLLOUTS: ReadonlySet<string> = new Set([...BEGINS, "warning", "sample"])

/** Of the samples of a step the last are kept, as many as events tell of. */
function overtakenSamples(samples: readonly Line[], kept: readonly Line[]): Set<number> {
  const told = new Map<number, number>()
  for (const { event } of kept) {
    if (event?.type === "sample") told.set(event.step, (told.get(event.step) ?? 0) + 1)
  }
  const gone = new Set<number>()
  for (let i = samples.length - 1; i >= 0; i--) {
    const { event } = samples[i]!
    if (event === undefined) continue
    const left = told.get(event.step) ?? 0
    if (left === 0) gone.add(i)
    else told.set(event.step, left - 1)
  }
  return gone
}

function move(lines: readonly Line[], gone: ReadonlySet<number>, from: string, to: string): void {
  if (gone.size === 0) return
  const moved = openLineFile(to)
  for (const i of gone) moved.append(lines[i]!.text)
  moved.flush()
  moved.close()
  const kept = lines.filter((_, i) => !gone.has(i))
  const newline = Buffer.from("\n")
  replaceFileNow(from, Buffer.concat(kept.flatMap(({ text }) => [text, newline])))
}

/**
 * Moves the events and samples after `step`, from which a run goes on, to `*.superseded.jsonl`.
 * Whoever follows events.jsonl sees another file in its place and is told by a `reset`.
 */
export function supersede(folder: string, step: number): void {
  const at = (name: string) => join(folder, name)
  const events = linesOf(at(RUN_FILES.events))
  const gone = overtaken(events, step)
  const samples = linesOf(at(RUN_FILES.samples))
  const kept = events.filter((_, i) => !gone.has(i))
  // the samples first: it is the events that say which of them are left
  move(
    samples,
    overtakenSamples(samples, kept),
    at(RUN_FILES.samples),
    at(SUPERSEDED_FILES.samples),
  )
  move(events, gone, at(RUN_FILES.events), at(SUPERSEDED_FILES.events))
}
