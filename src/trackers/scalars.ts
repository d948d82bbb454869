import type { TrackedEvent } from "./tracker.ts"

const TOLD = new Set(["step", "eval", "rollout"])
const NOT_SCALARS = new Set(["type", "time", "step", "name", "rollout"])

/** `train/loss`, `eval/NAME/nll`, `rollout/importance/max`: every finite number of the event. */
export function scalars(event: TrackedEvent): [string, number][] {
  if (!TOLD.has(event.type)) return []
  const name = "name" in event ? `/${event.name}` : ""
  const root = event.type === "step" ? "train" : `${event.type}${name}`
  const own = Object.entries(event).filter(([key]) => !NOT_SCALARS.has(key))
  return own.flatMap(([key, value]) => numbersIn(`${root}/${key}`, value))
}

function numbersIn(tag: string, value: unknown): [string, number][] {
  if (typeof value === "number") return Number.isFinite(value) ? [[tag, value]] : []
  if (typeof value !== "object" || value === null) return []
  return Object.entries(value).flatMap(([key, inner]) => numbersIn(`${tag}/${key}`, inner))
}
