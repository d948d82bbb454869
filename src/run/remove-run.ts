import { existsSync, rmdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import { RUN_FILES } from "./run-files.ts"
import { lockFolder } from "./run-lock.ts"
import { keepForeignModel, ownCheckpoints, runPlace } from "./run-place.ts"

/** Written beside the files of RUN_FILES. */
const MORE = ["events.superseded.jsonl", "run-spec.json"]

/**
 * Removes what a run wrote into its folder, and nothing else, so that another can begin there.
 *
 * @throws InputError where a process is still writing the run, or no run made what is there
 */
export async function removeRun(path: string): Promise<void> {
  if (!existsSync(path) || runPlace(path) === "free") return
  const unlock = lockFolder(path)
  try {
    for (const name of ownCheckpoints(path)) {
      rmSync(join(path, RUN_FILES.checkpoints, name), { recursive: true })
    }
    const checkpoints = join(path, RUN_FILES.checkpoints)
    try {
      rmdirSync(checkpoints)
    } catch {
      // it holds something that is not ours, or is not there
    }
    await keepForeignModel(path) // renamed where it is another's
    const { checkpoints: _, ...files } = RUN_FILES
    for (const name of [...Object.values(files), ...MORE]) {
      rmSync(join(path, name), { recursive: true, force: true })
    }
  } finally {
    unlock()
  }
}
