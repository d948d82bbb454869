/** Rows of any file, each an object: prompts, samples, benchmarks. */
import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject, parseJson, utf8 } from "../formats/json.ts"
import { type RawRow, rawRows, rowFileKind } from "./row-files.ts"

export interface RowObject {
  /** `file:line`, for messages. */
  readonly where: string
  readonly row: JsonObject
  /** Of its text in the file; 0 where the file is no text. */
  readonly bytes: number
}

/**
 * Objects of a jsonl, json, csv, parquet or arrow file, packed or not, in order.
 *
 * @throws InputError naming file and line
 */
export async function* rowsOf(path: string): AsyncGenerator<RowObject> {
  const kind = rowFileKind(path) ?? "jsonl"
  for await (const { rows } of rawRows(path, kind)) {
    for (const raw of rows) {
      const where = `${path}:${raw.line}`
      const row = rowValue(raw, where)
      if (!isObject(row)) {
        throw new InputError(`${where}: expected an object, got ${describeValue(row)}`)
      }
      yield { where, row, bytes: "json" in raw ? raw.json.length : 0 }
    }
  }
}

function rowValue(raw: RawRow, where: string): unknown {
  if ("problem" in raw) throw new InputError(`${where}: ${raw.problem}`)
  return "value" in raw ? raw.value : parseJson(utf8(raw.json, where), where)
}
