import { existsSync } from "node:fs"
import { dirname } from "node:path"
import type { Config } from "../config/index.ts"
import { isObject } from "../formats/json.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { ownPlace } from "../host/own-place.ts"
import { RUN_FILES } from "../run/run-folder.ts"

/** Defaults that were others when a run began that did not write them down, by objective. */
const FORMER_DEFAULTS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  psft: { updates: 4 }, // up to 0.1.0
}

/** An objective as an older run recorded it, with the defaults of its time. */
export function withFormerDefaults(recorded: unknown): unknown {
  if (!isObject(recorded) || !Object.hasOwn(FORMER_DEFAULTS, String(recorded.name))) return recorded
  return { ...FORMER_DEFAULTS[String(recorded.name)], ...recorded }
}

/**
 * The objective's settings; of a resumed run, with the defaults that it began with where it did not
 * record them.
 */
export async function keptObjective(
  config: Pick<Config, "objective" | "resume" | "output_dir">,
): Promise<Config["objective"]> {
  const { objective, resume, output_dir } = config
  const former = Object.hasOwn(FORMER_DEFAULTS, objective.name)
    ? FORMER_DEFAULTS[objective.name]!
    : undefined
  if (resume === false || former === undefined) return objective
  // A checkpoint lies in RUN/checkpoints/NAME.
  const folder = typeof resume === "string" ? dirname(dirname(resume)) : output_dir
  const path = ownPlace(folder, RUN_FILES.config)
  if (!existsSync(path)) return objective
  const { config: recorded } = await readJsonObject(path)
  const before = isObject(recorded) && isObject(recorded.objective) ? recorded.objective : undefined
  if (before?.name !== objective.name) return objective
  const unwritten = Object.entries(former).filter(([key]) => before[key] === undefined)
  return { ...objective, ...Object.fromEntries(unwritten) }
}
