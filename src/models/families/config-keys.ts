import { InputError } from "../../errors.ts"

/** A JSON object whose keys are read with checks, and the words that name it in an error. */
export interface ConfigKeys {
  /** The file, as the user knows it. */
  readonly where: string
  readonly values: Readonly<Record<string, unknown>>
}

/** Far above any model of these families; keeps a hostile config from asking for absurd memory. */
const MAX_INTEGER = 1 << 24

/** Of layers: each has a list of parameters before any tensor is looked at. */
export const MAX_LAYERS = 4096

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** null and absent mean the same in these files. */
export function present(keys: ConfigKeys, key: string): boolean {
  return (keys.values[key] ?? null) !== null
}

export function refuse(keys: ConfigKeys, key: string, expected: string): never {
  const came = present(keys, key) ? JSON.stringify(keys.values[key]).slice(0, 80) : "nothing"
  throw new InputError(`${keys.where}: expected "${key}" to be ${expected}, got ${came}`)
}

/** A positive integer; `fallback` is what Transformers takes when the key is missing. */
export function integer(
  keys: ConfigKeys,
  key: string,
  fallback?: number,
  most = MAX_INTEGER,
): number {
  if (!present(keys, key) && fallback !== undefined) return fallback
  const value = keys.values[key]
  const valid = Number.isInteger(value) && (value as number) > 0 && (value as number) <= most
  if (!valid) refuse(keys, key, `a whole number from 1 to ${most}`)
  return value as number
}

/** A positive finite number. */
export function positive(keys: ConfigKeys, key: string, fallback?: number): number {
  if (!present(keys, key) && fallback !== undefined) return fallback
  const value = keys.values[key]
  if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) {
    refuse(keys, key, "a positive number")
  }
  return value
}

/** A finite number of at least 0. */
export function notNegative(keys: ConfigKeys, key: string, fallback: number): number {
  if (keys.values[key] === 0) return 0
  if (present(keys, key) && !(Number(keys.values[key]) > 0)) refuse(keys, key, "0 or more")
  return positive(keys, key, fallback)
}

export function flag(keys: ConfigKeys, key: string, fallback: boolean): boolean {
  if (!present(keys, key)) return fallback
  const value = keys.values[key]
  if (typeof value !== "boolean") refuse(keys, key, "true or false")
  return value
}

/** `count` positive finite numbers. */
export function positiveList(keys: ConfigKeys, key: string, count: number): number[] {
  const value = keys.values[key]
  const valid =
    Array.isArray(value) &&
    value.length === count &&
    value.every((x) => typeof x === "number" && Number.isFinite(x) && x > 0)
  return valid ? value : refuse(keys, key, `a list of ${count} positive numbers`)
}
