/** Texts without the places of this machine. */
import { basename } from "node:path"

const PLACE = /(^|[\s"'(=`[,:])((?:\/|[A-Za-z]:[\\/])[^\s"'`)\],]*[^\s"'`)\],.:;])/g

/** Paths from a machine's root become their last names; addresses stay. */
export function withoutPlaces(text: string): string {
  return text.replace(PLACE, (whole, before: string, path: string) =>
    path.startsWith("//") ? whole : before + basename(path.replaceAll("\\", "/")),
  )
}

/** Every text in a JSON value. */
export function plainValue(value: unknown): unknown {
  if (typeof value === "string") return withoutPlaces(value)
  if (Array.isArray(value)) return value.map(plainValue)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plainValue(one)]))
}
