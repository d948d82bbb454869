import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/index.ts"
import { isObject, type JsonObject } from "../formats/json.ts"
import { isRunFolder, RUN_FILES, readRun, tidyDone } from "../run/run-folder.ts"
import { runPlace } from "../run/run-place.ts"
import { keptObjective } from "./kept-settings.ts"
import type { RunResult } from "./run.ts"
import { heldSettings, settingDifferences } from "./run-identity.ts"

/**
 * The result of the run that `--resume` means, where that run is done: it came to its end with
 * these settings, and its model is there. Undefined where there is something to do, or to refuse:
 * other settings (more steps are one) are another run. What a killed process left there is removed.
 */
export async function finishedRun(config: Config): Promise<RunResult | undefined> {
  const { output_dir: path, resume } = config
  if (resume !== true || !isRunFolder(path) || runPlace(path) !== "run") return undefined
  const { events, record } = readRun(path)
  const end = events.at(-1)
  const model = join(path, RUN_FILES.model)
  if (end?.type !== "run.end" || end.reason !== "done" || !existsSync(model)) return undefined
  const there = record?.config
  if (!isObject(there)) return undefined
  const here = { ...config, objective: await keptObjective(config) }
  if (settingDifferences(heldSettings(asGiven(there, config)), heldSettings(here)).length > 0) {
    return undefined
  }
  tidyDone(path)
  return { reason: "done", steps: end.step, path, model, wasDone: true }
}

/**
 * A record with what the run chose itself left out, where the config still leaves it to the run.
 */
function asGiven(there: JsonObject, { rollout }: Config): JsonObject {
  if (rollout?.importance !== null || !isObject(there.rollout)) return there
  return { ...there, rollout: { ...there.rollout, importance: null } }
}
