/** A run as /api/runs tells of it. */
import { statSync } from "node:fs"
import { join } from "node:path"
import { isObject } from "../formats/json.ts"
import { RUN_FILES, readRunRecord } from "../run/run-folder.ts"
import type { RunSummary } from "../run/run-index.ts"
import { lockHolder } from "../run/run-lock.ts"
import { shownMeans } from "../run/thinned.ts"
import type { NamedRun } from "./run-folders.ts"
import { readMarks } from "./run-marks.ts"

export type DescribedRun = ReturnType<typeof describedRun>

export function describedRun(run: NamedRun, summary: RunSummary) {
  const { start, ended, step, evaluation, warnings, best, nll } = summary
  const config = configOf(run.path)
  return {
    name: run.name,
    /** Without a run.end a run goes on or was killed: `running` says which, on this machine. */
    state: ended?.reason ?? (start ? "open" : "empty"),
    running: lockHolder(run.path) !== undefined,
    updated: statSync(join(run.path, RUN_FILES.events)).mtime.toISOString(),
    started: start?.time ?? null,
    objective: start?.objective ?? null,
    model: typeof config.model === "string" ? config.model : null,
    data: trainedOn(config),
    engine: start?.engine ?? null,
    step: step?.step ?? 0,
    steps: start?.steps ?? null,
    last_step: step ?? null,
    last_eval: evaluation ?? null,
    best_eval: bestOf(best),
    /** Means of the steps' NLL, at most 128. */
    nll: shownMeans(nll).map((value) => Number(value.toPrecision(5))),
    warnings,
    ...readMarks(run.path),
  }
}

/**
 * The config that a run recorded; empty for a config.json that is no JSON: the events still tell of
 * the run.
 */
export function configOf(run: string): Record<string, unknown> {
  try {
    const config = readRunRecord(run)?.config
    return isObject(config) ? config : {}
  } catch {
    return {}
  }
}

function trainedOn({ data }: Record<string, unknown>): string[] {
  const sources = isObject(data) && Array.isArray(data.train) ? data.train : []
  return sources.flatMap((source) =>
    isObject(source) && typeof source.path === "string" ? [source.path] : [],
  )
}

/** The score of the first evaluation that has one, or the first one's NLL. */
function bestOf(best: RunSummary["best"]) {
  for (const measure of ["score", "nll"] as const) {
    for (const [name, values] of best) {
      const found = values[measure]
      if (found) return { name, measure, ...found }
    }
  }
  return null
}
