import { InputError } from "../../errors.ts"
import type { JsonObject } from "../../formats/json.ts"

/**
 * `data.columns`: what a row's parts are called in the file; null: a column that is not looked at.
 */
export type Columns = Readonly<Record<string, string | null>>

/**
 * The row with its columns under the names that are looked for.
 *
 * @throws InputError for a column that the row does not have
 */
export function renamed(row: JsonObject, columns: Columns, where: string): JsonObject {
  const named = Object.entries(columns)
  if (named.length === 0) return row
  const result: Record<string, unknown> = { ...row }
  for (const [name, column] of named) delete result[column ?? name]
  for (const [name, column] of named) {
    if (column === null) continue
    if (row[column] === undefined) {
      const keys = Object.keys(row).slice(0, 12)
      throw new InputError(
        `${where}: expected a column "${column}" (data.columns.${name}), got the keys ${keys.map((key) => JSON.stringify(key)).join(", ")}`,
      )
    }
    result[name] = row[column]
  }
  return result
}
