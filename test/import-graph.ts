import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"

export const SRC = fileURLToPath(new URL("../src", import.meta.url))

export interface Import {
  /** As it is written. */
  readonly specifier: string
  /** The source file, from the root, that a relative specifier names. */
  readonly file: string | undefined
  /** Erased when the file runs. */
  readonly typeOnly: boolean
}

/** Static imports and exports, and `import()` of a literal. */
const IMPORT =
  /^(?:import|export)\s+(?<type>type\s)?(?:[^"';]*?\sfrom\s+)?"(?<static>[^"]+)"|\bimport\(\s*"(?<dynamic>[^"]+)"\s*\)/gms

function importsOf(root: string, file: string): Import[] {
  const path = join(root, file)
  return [...readFileSync(path, "utf8").matchAll(IMPORT)].map(({ groups }) => {
    const specifier = (groups!.static ?? groups!.dynamic)!
    const target = specifier.startsWith(".")
      ? relative(root, resolve(dirname(path), specifier)).replaceAll("\\", "/")
      : undefined
    return { specifier, file: target, typeOnly: groups!.type !== undefined }
  })
}

/** Every source file, from `root`, with what it imports. */
export function importGraph(root = SRC): ReadonlyMap<string, readonly Import[]> {
  const files = (readdirSync(root, { recursive: true, encoding: "utf8" }) as string[])
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => /\.tsx?$/.test(file))
    .toSorted()
  return new Map(files.map((file) => [file, importsOf(root, file)]))
}

/**
 * What runs when `entry` is loaded, entry included, each file with the path of files that leads to
 * it.
 */
export function reached(
  graph: ReadonlyMap<string, readonly Import[]>,
  entry: string,
): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, readonly string[]>([[entry, [entry]]])
  for (const [file, path] of found) {
    for (const { file: next, typeOnly } of graph.get(file) ?? []) {
      if (next && !typeOnly && !found.has(next)) found.set(next, [...path, next])
    }
  }
  return found
}

/** Groups of files that import each other in a circle, type imports included. */
export function circles(graph: ReadonlyMap<string, readonly Import[]>): string[][] {
  // Tarjan's strongly connected components.
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const found: string[][] = []
  const visit = (file: string): void => {
    index.set(file, index.size)
    low.set(file, index.get(file)!)
    stack.push(file)
    for (const { file: next } of graph.get(file)!) {
      if (!next || !graph.has(next)) continue
      if (!index.has(next)) visit(next)
      if (stack.includes(next)) low.set(file, Math.min(low.get(file)!, low.get(next)!))
    }
    if (low.get(file) !== index.get(file)) return
    const group = stack.splice(stack.indexOf(file))
    if (group.length > 1) found.push(group)
  }
  for (const file of graph.keys()) if (!index.has(file)) visit(file)
  return found
}
