/** What a study compares: its arms, by their settings. */

/** The model before training. */
export const BASE = "base"
export const MODEL = "model"

/** Settings by key path. */
export type Settings = Readonly<Record<string, unknown>>

/** What is compared: settings that differ in more than the seed. */
export interface Arm {
  readonly name: string
  readonly set: Settings
}

/** What is wrong, and at which key of the file. */
export interface DesignProblem {
  readonly path: readonly PropertyKey[]
  readonly message: string
}

export const list = <T>(value: T | readonly T[]): readonly T[] =>
  Array.isArray(value) ? (value as readonly T[]) : [value as T]
