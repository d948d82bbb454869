import { openTensorboard } from "./tensorboard.ts"
import type { TrackedEvent, Tracker } from "./tracker.ts"

export interface Trackers {
  /** Tells every tracker; gives the failures, one at most of each tracker. */
  readonly see: (event: TrackedEvent) => string[]
  readonly close: () => void
}

const OPEN = { tensorboard: openTensorboard } as const

export function trackersOf(names: readonly (keyof typeof OPEN)[], outputDir: string): Trackers {
  let going: Tracker[] = [...new Set(names)].map((name) => OPEN[name](outputDir))
  return {
    see(event) {
      const failures: string[] = []
      going = going.filter((tracker) => {
        try {
          tracker.see(event)
          return true
        } catch (error) {
          failures.push(`${tracker.name}: ${error instanceof Error ? error.message : error}`)
          closeQuietly(tracker)
          return false
        }
      })
      return failures
    },
    close: () => going.forEach(closeQuietly),
  }
}

/** A tracker is never the reason that a run fails: every record was written before. */
function closeQuietly(tracker: Tracker): void {
  try {
    tracker.close()
  } catch {
    // nothing is lost that `see` did not tell of
  }
}
