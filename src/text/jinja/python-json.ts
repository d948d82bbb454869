import { fromJson } from "./from-json.ts"
import { json, jsonOptions } from "./to-json.ts"

const PLAIN = jsonOptions(undefined, undefined, undefined, undefined)

/**
 * A row's value as Python's `json.dumps(value, ensure_ascii=False)` writes it: its separators, its
 * floats, large integers and the order of keys as the row's JSON has them.
 */
export const pythonJson = (value: unknown): string => json(fromJson(value), PLAIN)
