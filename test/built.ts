import { existsSync, statSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { newest } from "./newest.ts"

const ROOT = fileURLToPath(new URL("..", import.meta.url))
export const BUILT = join(ROOT, "dist/commands/main.js")

/** Whether the build is newer than the sources. */
export function isBuilt(): boolean {
  if (!existsSync(BUILT)) return false
  return (
    statSync(BUILT).mtimeMs >
    Math.max(newest(join(ROOT, "src")), newest(join(ROOT, "package.json")))
  )
}
