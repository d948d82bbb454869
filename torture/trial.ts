/** What every trial is given and gives back. */
export interface TrialOptions {
  readonly seed: number
  /** Trials of its kind; fewer when the time is up. */
  readonly count: number
  /** `Date.now()` at which no further one begins. */
  readonly until: number
  /** A folder of its own. */
  readonly folder: string
  readonly say: (line: string) => void
  /** Formats, or runs, that alone are tried; undefined: those that there is time for. */
  readonly kinds: readonly string[] | undefined
}

export interface TrialResult {
  readonly tried: number
  /** By name: how many of what. */
  readonly figures: Readonly<Record<string, number | string>>
  /** Each with what repeats it. */
  readonly failures: readonly string[]
}

export type Trial = (options: TrialOptions) => Promise<TrialResult>
