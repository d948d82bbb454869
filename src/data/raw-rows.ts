/** A row as its file holds it: JSON not yet parsed, a value, or what is wrong with it. */
export type RawRow = { readonly line: number } & (
  | { readonly json: Uint8Array }
  | { readonly value: unknown }
  | { readonly problem: string }
)

export interface RawRows {
  readonly rows: readonly RawRow[]
  /** Of the file, read so far. */
  readonly fraction: number
}

/** Values that are passed on at once. */
export const VALUE_ROWS = 2000
