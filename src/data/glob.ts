import { readdirSync } from "node:fs"
import { join, sep } from "node:path"

/**
 * Folders below the pattern's fixed part that are looked at; a pattern that needs more is a
 * mistake.
 */
const MAX_ENTRIES = 1_000_000

/** Whether a path holds a pattern. */
export function isGlob(path: string): boolean {
  return /[*?[{]/.test(path)
}

/**
 * Files that match a pattern, sorted: `*` and `?` within a name, `**` over folders, `[abc]`,
 * `{a,b}`. Names that begin with a dot match only a pattern that says so.
 */
export function globFiles(pattern: string): string[] {
  const parts = pattern.split(/[/\\]/)
  const firstPattern = parts.findIndex(isGlob)
  const base = parts.slice(0, firstPattern).join(sep) || (pattern.startsWith("/") ? "/" : ".")
  const wanted = parts.slice(firstPattern).map((part) => (part === "**" ? part : partPattern(part)))
  const found: string[] = []
  let seen = 0
  const walk = (folder: string, rest: readonly (RegExp | "**")[]): void => {
    const [first, ...others] = rest
    if (first === undefined) return
    if (first === "**") walk(folder, others.length === 0 ? [/^[^.]/] : others)
    let entries: ReturnType<typeof readEntries>
    try {
      entries = readEntries(folder)
    } catch {
      return // no such folder, or none that may be read: nothing in it matches
    }
    for (const entry of entries) {
      if (++seen > MAX_ENTRIES) return
      const path = join(folder, entry.name)
      if (first === "**") {
        if (entry.isDirectory() && !entry.name.startsWith(".")) walk(path, rest)
      } else if (first.test(entry.name)) {
        if (others.length === 0 && !entry.isDirectory()) found.push(path)
        else if (others.length > 0 && entry.isDirectory()) walk(path, others)
      }
    }
  }
  walk(base, wanted)
  return [...new Set(found)].sort()
}

function readEntries(folder: string) {
  return readdirSync(folder, { withFileTypes: true })
}

/** One name of a pattern as a regular expression; written so that it cannot backtrack for long. */
function partPattern(part: string): RegExp {
  let source = part.startsWith(".") ? "" : "(?!\\.)"
  let depth = 0
  for (let i = 0; i < part.length; i++) {
    const c = part[i]!
    const close = part.indexOf("]", i + 2)
    if (c === "*") source += part[i - 1] === "*" ? "" : "[^/]*"
    else if (c === "?") source += "[^/]"
    else if (c === "[" && close !== -1) {
      const inside = part
        .slice(i + 1, close)
        .replace(/^!/, "^")
        .replaceAll(/[\\\]]/g, "\\$&")
      source += `[${inside}]`
      i = close
    } else if (c === "{" && part.indexOf("}", i) !== -1) {
      depth++
      source += "(?:"
    } else if (c === "}" && depth > 0) {
      depth--
      source += ")"
    } else if (c === "," && depth > 0) source += "|"
    else source += c.replaceAll(/[.+^$()|\\{}[\]]/g, "\\$&")
  }
  return new RegExp(`^${source}$`)
}
