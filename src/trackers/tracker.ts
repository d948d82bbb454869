/** What trackers read of a run's event: this layer stands below the runs. */
export interface TrackedEvent {
  readonly type: string
  /** ISO 8601. */
  readonly time: string
  /** Optimizer steps done. */
  readonly step: number
}

/** Takes a run's events elsewhere, in order. */
export interface Tracker {
  readonly name: string
  /** @throws Error where it can take no more; the run goes on without it */
  readonly see: (event: TrackedEvent) => void
  readonly close: () => void
}
