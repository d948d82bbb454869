import { closeSync, readdirSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { openPlainFile } from "../formats/plain-file.ts"
import { isRunFolder, RUN_FILES } from "../run/run-folder.ts"

export interface NamedRun {
  readonly name: string
  readonly path: string
}

/**
 * The runs directly in a folder, by name; the folder itself where it is a run. Links are not
 * followed, and runs whose events cannot be read are left out.
 */
export function runFolders(dir: string): NamedRun[] {
  if (isRunFolder(dir)) return [{ name: basename(resolve(dir)), path: resolve(dir) }]
  return readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => ({ name, path: join(resolve(dir), name) }))
    .filter(({ path }) => hasEvents(path))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

/**
 * Whether events can be read: one folder that is none of a run's, or another user's, hides no
 * other.
 */
function hasEvents(path: string): boolean {
  try {
    closeSync(openPlainFile(join(path, RUN_FILES.events)))
    return true
  } catch {
    return false
  }
}

/** Where the runs lie: of a run that is served alone, the folder around it. */
export const folderOfRuns = (dir: string): string =>
  isRunFolder(dir) ? dirname(resolve(dir)) : resolve(dir)
