import type { z } from "zod"
import { didYouMean } from "../closest-name.ts"
import { lineForKey, lineForValue } from "./other-trainers.ts"
import { ENGINES } from "./schema.ts"

export type KeyPath = readonly PropertyKey[]
type Issue = z.core.$ZodIssue

/** One thing wrong with a config: where, and in words. */
export interface ConfigProblem {
  readonly path: KeyPath
  /** Whether the key itself is wrong (unknown) or its value. */
  readonly at: "key" | "value"
  readonly message: string
}

/** A value as a person wrote it, kept short. */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing"
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === "object" && value !== null) return "a mapping"
  const isPlain =
    typeof value === "bigint" || (typeof value === "number" && !Number.isFinite(value))
  const text = isPlain ? String(value) : (JSON.stringify(value) ?? String(value))
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

const TYPES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
  record: "a mapping",
  null: "null",
}

/** A single value that a list may be written as is the list's first item. */
function at(value: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>((inner, key) => {
    if (typeof inner === "object" && inner !== null)
      return (inner as Record<PropertyKey, unknown>)[key]
    return key === 0 ? inner : undefined
  }, value)
}

/** A whole number past what a double holds is told by the setting's own bound, where it has one. */
function toldOnce(issues: readonly Issue[]): readonly Issue[] {
  const isUnsafe = (issue: Issue) =>
    issue.code === "too_big" && issue.maximum === Number.MAX_SAFE_INTEGER
  const isTold = (issue: Issue) =>
    issues.some((one) => one.code === "too_big" && !isUnsafe(one) && sameKey(one.path, issue.path))
  return issues.filter((issue) => !isUnsafe(issue) || !isTold(issue))
}

const sameKey = (a: KeyPath, b: KeyPath) =>
  a.length === b.length && a.every((key, i) => key === b[i])

function unitText(origin: string, count: number | bigint): string {
  if (origin === "array") return count === 1 ? "entry" : "entries"
  return count === 1 ? "character" : "characters"
}

/** What one issue expected, without saying where. */
function expectation(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return TYPES[issue.expected] ?? issue.expected
    case "invalid_value":
      return issue.values.map((value) => JSON.stringify(value)).join(", ")
    case "too_small":
      return issue.origin === "array" || issue.origin === "string"
        ? `at least ${issue.minimum} ${unitText(issue.origin, issue.minimum)}`
        : `a number ${issue.inclusive ? "of at least" : "above"} ${issue.minimum}`
    case "too_big":
      return issue.origin === "array" || issue.origin === "string"
        ? `at most ${issue.maximum} ${unitText(issue.origin, issue.maximum)}`
        : `a number ${issue.inclusive ? "of at most" : "below"} ${issue.maximum}`
    case "invalid_format":
      if (!issue.message.startsWith("Invalid ")) return issue.message // a schema's own words
      return issue.format === "regex" ? `text that matches ${issue.pattern}` : issue.format
    default:
      return issue.message
  }
}

/** A union that stands in a union at the same place is more branches of it. */
const flatBranches = (branches: readonly (readonly Issue[])[]): (readonly Issue[])[] =>
  branches.flatMap((issues) => {
    const [only, ...others] = issues
    const isUnion = only?.code === "invalid_union" && only.path.length === 0
    return isUnion && others.length === 0 ? flatBranches(only.errors) : [issues]
  })

/**
 * The branch of a union that the user was writing: the one that accepts the kind of value given.
 */
function branchMeant(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const inside = branches.filter((issues) => issues.every(({ path }) => path.length > 0))
  return (
    inside[0] ?? branches.find((issues) => issues.some(({ code }) => code === "unrecognized_keys"))
  )
}

/** Every problem that zod found in `input`, in words. */
export function problems(
  issues: readonly Issue[],
  input: unknown,
  known: (path: KeyPath) => readonly string[],
  prefix: KeyPath = [],
): ConfigProblem[] {
  return toldOnce(issues).flatMap((issue): ConfigProblem[] => {
    const path = [...prefix, ...issue.path]
    const value = at(input, path)
    if (issue.code === "unrecognized_keys") {
      return issue.keys.map((key) => ({
        path: [...path, key],
        at: "key",
        message: `unknown key "${key}"${unknownKeyHint(key, path, known(path), value)}`,
      }))
    }
    if (issue.code === "invalid_union") {
      if (issue.discriminator !== undefined && issue.errors.length === 0) {
        const options = known(path).map((name) => JSON.stringify(name))
        const message = `expected ${options.join(" or ")}, got ${shown(value)}`
        return [{ path, at: "value", message }]
      }
      const branches = flatBranches(issue.errors)
      const meant = branchMeant(branches)
      if (meant !== undefined) return problems(meant, input, known, path)
      const expected = [...new Set(branches.flat().map(expectation))].join(" or ")
      return [
        {
          path,
          at: "value",
          message: `expected ${expected}, got ${shown(value)}${hint(issue, value, path)}`,
        },
      ]
    }
    if (value === undefined && issue.code === "invalid_type") {
      return [{ path, at: "value", message: `missing: expected ${expectation(issue)}` }]
    }
    const oneOf = issue.code === "invalid_value" && issue.values.length > 1 ? "one of " : ""
    return [
      {
        path,
        at: "value",
        message: `expected ${oneOf}${expectation(issue)}, got ${shown(value)}${hint(issue, value, path)}`,
      },
    ]
  })
}

function unknownKeyHint(
  key: string,
  path: KeyPath,
  names: readonly string[],
  mapping: unknown,
): string {
  const line = path.length === 0 ? lineForKey(key, mapping) : undefined
  if (line !== undefined) return `; ${line}`
  // Known, but to another branch of a union: the only such union is the engine's.
  if (names.includes(key)) {
    const chosen = (mapping as { readonly name?: string }).name
    const able = ENGINES.filter((name) => name !== chosen).map((name) => `engine: ${name}`)
    return `: engine ${chosen} cannot honour it; ${able.join(" or ")} can`
  }
  return didYouMean(key, names)
}

function hint(issue: Issue, value: unknown, path: KeyPath): string {
  const line = lineForValue(path, value)
  if (line !== undefined) return `; ${line}`
  if (typeof value !== "string") return ""
  const values = (issue.code === "invalid_union" ? issue.errors.flat() : [issue]).flatMap(
    (inner) => (inner.code === "invalid_value" ? inner.values.map(String) : []),
  )
  return didYouMean(value, values)
}

/** `data.train[0].path`. */
export function pathText(path: KeyPath): string {
  return path
    .map((key, i) =>
      typeof key === "number" ? `[${key}]` : i === 0 ? String(key) : `.${String(key)}`,
    )
    .join("")
}
