/**
 * How what takes long tells a program that waits for it. Nothing of the library prints by itself.
 */

export interface Warning {
  readonly code: string
  readonly message: string
  /** What to do; may be empty. */
  readonly hint: string
}

export interface Told {
  /** Aborting ends the work. */
  readonly signal?: AbortSignal
  /** What is being done, for people; each line takes the place of the one before. */
  readonly onProgress?: (message: string) => void
  /** What was done or found on the way, for people; each line stands by itself. */
  readonly onNotice?: (message: string) => void
  readonly onWarning?: (warning: Warning) => void
}
