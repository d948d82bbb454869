import { readdirSync } from "node:fs"
import { join, relative } from "node:path"

/** Every file below a folder, relative to it, with forward slashes. */
export function folderFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
}
