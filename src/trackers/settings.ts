import { isObject } from "../formats/json.ts"

/** Settings by dotted names, their values as texts; lists as they are written. */
export function flatSettings(settings: unknown, under = ""): [name: string, value: string][] {
  if (!isObject(settings) || Object.keys(settings).length === 0) {
    return under === ""
      ? []
      : [[under, typeof settings === "string" ? settings : JSON.stringify(settings)]]
  }
  return Object.entries(settings).flatMap(([name, value]) =>
    flatSettings(value, under === "" ? name : `${under}.${name}`),
  )
}
