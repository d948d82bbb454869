/** Numbers and switches in quotes: `batch_size: "8"`, as shells and templates write them. */
import type { z } from "zod"

type Issue = z.core.$ZodIssue
type Path = readonly PropertyKey[]

/** Where a number or a switch was expected, in unions too. */
function wantedScalars(issues: readonly Issue[], prefix: Path = []): Path[] {
  return issues.flatMap((issue): Path[] => {
    const path = [...prefix, ...issue.path]
    if (issue.code === "invalid_union")
      return issue.errors.flatMap((inner) => wantedScalars(inner, path))
    if (issue.code !== "invalid_type") return []
    return ["number", "int", "boolean"].includes(issue.expected) ? [path] : []
  })
}

function plain(value: string): unknown {
  if (value === "true" || value === "false") return value === "true"
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value.trim()) ? Number(value) : value
}

function copied(value: unknown, leaf = (each: unknown): unknown => each): unknown {
  if (Array.isArray(value)) return value.map((inner) => copied(inner, leaf))
  if (typeof value !== "object" || value === null) return leaf(value)
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copied(inner, leaf)]))
}

/**
 * `input` with every text read so that plainly is a number or a switch, where no schema knows
 * which.
 */
export const allUnquoted = (input: unknown): unknown =>
  copied(input, (value) => (typeof value === "string" ? plain(value) : value))

/** `input` with the texts at those places that plainly are numbers or switches read as such. */
export function unquoted(input: unknown, issues: readonly Issue[]): unknown {
  const copy = copied(input)
  for (const path of wantedScalars(issues)) {
    const inside = path.slice(0, -1).reduce<unknown>((node, key) => {
      return typeof node === "object" && node !== null
        ? (node as Record<PropertyKey, unknown>)[key]
        : undefined
    }, copy)
    const key = path.at(-1)
    if (typeof inside !== "object" || inside === null || key === undefined) continue
    const holder = inside as Record<PropertyKey, unknown>
    const value = holder[key]
    if (typeof value === "string") holder[key] = plain(value)
  }
  return copy
}
