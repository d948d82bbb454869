import { withoutKeys } from "./keys.ts"
import { openMlflow } from "./mlflow.ts"
import { openPythonTracker } from "./python-tracker.ts"
import { openTensorboard } from "./tensorboard.ts"
import type { TrackedEvent, TrackedRun, Tracker } from "./tracker.ts"

export interface Trackers {
  /** Tells every tracker; gives the failures since the last time, one at most of each tracker. */
  readonly see: (event: TrackedEvent) => string[]
  /** Once; the failures that are left. */
  readonly close: () => Promise<string[]>
}

const OPEN = {
  tensorboard: ({ outputDir }: TrackedRun) => openTensorboard(outputDir),
  mlflow: openMlflow,
  wandb: (run: TrackedRun) => openPythonTracker("wandb", run),
  trackio: (run: TrackedRun) => openPythonTracker("trackio", run),
} as const

export type TrackerName = keyof typeof OPEN

/** For one of the library's user that never ends. */
const CLOSE_MS = 30_000

/**
 * Opens trackers by name, beside those of the library's user. One that cannot be opened is a
 * failure that the first `see` gives: a tracker is never the reason that a run fails.
 */
export async function openTrackers(
  names: readonly TrackerName[],
  run: TrackedRun,
  own: readonly Tracker[] = [],
): Promise<Trackers> {
  let failures: string[] = []
  let going: Tracker[] = []
  const fail = (tracker: Pick<Tracker, "name">, error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    failures.push(withoutKeys(`${tracker.name}: ${why}`))
  }
  const letGo = (tracker: Tracker, error: unknown) => {
    if (!going.includes(tracker)) return
    going = going.filter((one) => one !== tracker)
    fail(tracker, error)
    void closed(tracker).catch(() => {}) // what it failed with is told
  }
  const opened = await Promise.all(
    [...new Set(names)].map(async (name) => {
      try {
        return await OPEN[name](run)
      } catch (error) {
        fail({ name }, error)
        return undefined
      }
    }),
  )
  going = [...opened.filter((tracker) => tracker !== undefined), ...own]
  const told = () => {
    const all = failures
    failures = []
    return all
  }
  let isClosed = false
  return {
    see(event) {
      for (const tracker of going) {
        try {
          const seen = tracker.see(event)
          if (seen instanceof Promise) seen.catch((error) => letGo(tracker, error))
        } catch (error) {
          letGo(tracker, error)
        }
      }
      return told()
    },
    async close() {
      if (isClosed) return []
      isClosed = true
      await Promise.all(
        going.map((tracker) => closed(tracker).catch((error) => fail(tracker, error))),
      )
      return told()
    },
  }
}

async function closed(tracker: Tracker): Promise<void> {
  let clock: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, failed) => {
    const said = new Error(`did not close in ${CLOSE_MS / 1000} s`)
    clock = setTimeout(() => failed(said), CLOSE_MS + 1000)
  })
  try {
    await Promise.race([tracker.close(), late])
  } finally {
    clearTimeout(clock)
  }
}
