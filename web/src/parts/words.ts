/** Numbers and times as people read them. */
import type { DescribedRun } from "../../../src/server/described-run.ts"
import type { Job } from "../../../src/server/queue-file.ts"

export type RunState = "training" | "done" | "interrupted" | "failed" | "stopped" | "empty"

/** What a run is doing, in one word; one without an end and without a process was killed. */
export function stateOf({ state, running }: Pick<DescribedRun, "state" | "running">): RunState {
  if (running) return "training"
  return state === "open" ? "stopped" : (state as RunState)
}

/** A job of the queue in the colours of runs. */
export const jobClass = (state: Job["state"]): string =>
  `state ${state === "running" ? "training" : state}`

export const number = (value: number | null | undefined, digits = 3): string =>
  value === null || value === undefined || !Number.isFinite(value)
    ? "–"
    : value !== 0 && Math.abs(value) < 1e-3
      ? value.toExponential(digits - 1)
      : String(Number(value.toPrecision(digits)))

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–"
  if (seconds < 90) return `${Math.round(seconds)} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${(seconds / 3600).toFixed(1)} h`
  return `${(seconds / 86_400).toFixed(1)} days`
}

export function ago(time: string, now = Date.now()): string {
  const seconds = Math.max(0, (now - Date.parse(time)) / 1000)
  return seconds < 5 ? "now" : `${duration(seconds)} ago`
}

export const bytesText = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`

/** The end of a path, or of an id: what tells runs apart. */
export const shortName = (path: string): string => path.split("/").filter(Boolean).at(-1) ?? path

/** What of an evaluation was measured. */
export const measureName = (measure: "score" | "nll"): string =>
  measure === "nll" ? "NLL" : measure
