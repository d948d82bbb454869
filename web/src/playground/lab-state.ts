import type { SavedModel } from "../../../src/browser/saved-models.ts"
import type { SeenToken } from "../../../src/browser/tab-run.ts"
import type { ModelInfo, RowsInfo, SaidText } from "../../../src/browser/tab-service.ts"
import type { RunEvent, StepEvent } from "../../../src/run/events.ts"

export const SIDES = ["a", "b"] as const
export type SideName = (typeof SIDES)[number]

/** What one objective's run has told so far. */
export interface Side {
  readonly steps: readonly StepEvent[]
  readonly heldOut: readonly { readonly step: number; readonly nll: number }[]
  /** Counts of the last step's targets by their probability, in tenths. */
  readonly bins: readonly number[]
  readonly warnings: readonly string[]
  readonly said: readonly SaidText[]
  readonly look: readonly SeenToken[]
  readonly ended: boolean
}

export const EMPTY: Side = {
  steps: [],
  heldOut: [],
  bins: [],
  warnings: [],
  said: [],
  look: [],
  ended: false,
}

export type Phase = "loading" | "ready" | "training" | "paused" | "done" | "failed"

export interface LabState {
  readonly phase: Phase
  /** What is being done, where it takes long. */
  readonly busy: { readonly what: string; readonly share?: number | undefined } | undefined
  readonly problem: string | undefined
  /** What a user may want to know of the device. */
  readonly note: string | undefined
  readonly device: string
  readonly model: ModelInfo | undefined
  readonly rows: RowsInfo | undefined
  /** What both runs are reckoned to hold, and what the tab is measured to hold, in bytes. */
  readonly reckoned: number | undefined
  readonly held: number | undefined
  /** Models of the hub that this browser keeps. */
  readonly saved: readonly SavedModel[]
  readonly step: number
  readonly sides: Readonly<Record<SideName, Side>>
}

export const START: LabState = {
  phase: "loading",
  busy: { what: "starting" },
  problem: undefined,
  note: undefined,
  device: "",
  model: undefined,
  rows: undefined,
  reckoned: undefined,
  held: undefined,
  saved: [],
  step: 0,
  sides: { a: EMPTY, b: EMPTY },
}

/** A side after what a step told. */
export function withEvents(side: Side, events: readonly RunEvent[]): Side {
  const steps = events.filter((event): event is StepEvent => event.type === "step")
  const heldOut = events.flatMap((event) =>
    event.type === "eval" && event.nll !== undefined ? [{ step: event.step, nll: event.nll }] : [],
  )
  const histogram = events.findLast((event) => event.type === "histogram" && event.name === "train")
  const warnings = events.flatMap((event) =>
    event.type === "warning" ? [`${event.message}; ${event.hint}`] : [],
  )
  return {
    ...side,
    steps: [...side.steps, ...steps],
    heldOut: [...side.heldOut, ...heldOut],
    warnings: [...side.warnings, ...warnings],
    ...(histogram?.type === "histogram" ? { bins: histogram.bins } : {}),
    ended: events.some(({ type }) => type === "run.end"),
  }
}

interface MeasuringPerformance {
  measureUserAgentSpecificMemory?(): Promise<{ readonly bytes: number }>
}

/** What this page and its workers hold, as the browser measures it; undefined where it does not. */
export async function heldBytes(): Promise<number | undefined> {
  if (!window.crossOriginIsolated) return undefined
  const measured = (performance as MeasuringPerformance).measureUserAgentSpecificMemory?.()
  return (await measured?.catch(() => undefined))?.bytes
}
