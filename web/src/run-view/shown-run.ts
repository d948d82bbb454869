import type { RunDetails } from "../../../src/run/run-index.ts"

/** A run as the page and the report draw it. */
export interface ShownRun {
  readonly name: string
  /** Changes whenever something was added. */
  readonly version: number
  readonly details: RunDetails
}
