import { existsSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { newest } from "./newest.ts"

const ROOT = fileURLToPath(new URL("..", import.meta.url))
const BUILT = join(ROOT, "dist/commands/main.js")

function isBuilt(): boolean {
  if (!existsSync(BUILT)) return false
  return (
    statSync(BUILT).mtimeMs >
    Math.max(newest(join(ROOT, "src")), newest(join(ROOT, "package.json")))
  )
}

/**
 * What Node is given to run `dftune`: the build where it is newer than the sources, which starts
 * three times as fast, else the sources.
 */
export const DFTUNE: readonly string[] = isBuilt()
  ? [BUILT]
  : ["--import", import.meta.resolve("tsx"), join(ROOT, "src/commands/main.ts")]

/** The same for `spawn`, as `ownCommand` has it. */
export const dftuneCommand = (...args: readonly string[]): [program: string, args: string[]] => [
  process.execPath,
  [...DFTUNE, ...args],
]
