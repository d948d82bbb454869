import { readdirSync, statSync } from "node:fs"
import { join } from "node:path"

/** When a file, or the newest in a folder, was written, ms; a folder tells of what was removed. */
export function newest(path: string): number {
  const stats = statSync(path)
  if (!stats.isDirectory()) return stats.mtimeMs
  const inside = readdirSync(path).map((name) => newest(join(path, name)))
  return Math.max(stats.mtimeMs, ...inside)
}
