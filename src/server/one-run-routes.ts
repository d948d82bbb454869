/**
 * What one run was told and made: its settings, checkpoints and samples; stopping it and going on.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { Hono } from "hono"
import { isObject } from "../formats/json.ts"
import { ownPlace } from "../host/own-place.ts"
import { RUN_FILES, readRunRecord } from "../run/run-folder.ts"
import { lockHolder } from "../run/run-lock.ts"
import { checkpointSteps } from "../run/run-place.ts"
import { requestStop } from "../run/stop-request.ts"
import { configOf } from "./described-run.ts"
import type { JobQueue } from "./job-queue.ts"
import { refusal } from "./refusal.ts"
import { lastObjects } from "./run-lines.ts"
import { changing, namedRun } from "./run-routes.ts"
import { SAMPLES_BYTES } from "./run-rows.ts"
import { type Allowed, checkStart } from "./start-checks.ts"

export interface OneRunOptions {
  readonly dir: string
  readonly readOnly: boolean
  readonly queue: JobQueue
  readonly allowed: Allowed
}

export interface RunSettings {
  readonly config: Readonly<Record<string, unknown>>
  /** Versions and hashes of model, data, template and code, by name. */
  readonly versions: Readonly<Record<string, unknown>>
  /** Steps that have a checkpoint. */
  readonly checkpoints: readonly number[]
  readonly has_model: boolean
}

export function oneRunRoutes({ dir, readOnly, queue, allowed }: OneRunOptions): Hono {
  return new Hono()
    .get("/api/runs/:name/settings", (c) => {
      const { path } = namedRun(c, dir)
      const settings: RunSettings = {
        config: configOf(path),
        versions: versionsOf(path),
        checkpoints: checkpointSteps(path),
        has_model: existsSync(join(path, RUN_FILES.model)),
      }
      return c.json(settings)
    })
    .get("/api/runs/:name/samples", (c) => {
      const file = ownPlace(namedRun(c, dir).path, RUN_FILES.samples)
      return c.json({ samples: existsSync(file) ? lastObjects(file, SAMPLES_BYTES) : [] })
    })
    .post("/api/runs/:name/stop", (c) => {
      const { name, path } = namedRun(c, dir)
      changing(readOnly)
      if (!requestStop(path)) throw refusal(409, `nothing is training the run "${name}" now`)
      return c.json({ stopping: true })
    })
    .post("/api/runs/:name/resume", (c) => {
      const { name, path } = namedRun(c, dir)
      changing(readOnly)
      if (lockHolder(path) !== undefined || queue.has(name)) {
        throw refusal(409, `the run "${name}" is being trained already, or waits for its turn`)
      }
      checkStart(configOf(path), allowed)
      return c.json(queue.add({ run: name, resume: true }))
    })
    .get("/api/jobs", (c) => c.json({ jobs: queue.jobs }))
    .post("/api/jobs/:id/cancel", (c) => {
      changing(readOnly)
      if (queue.cancel(c.req.param("id"))) return c.json({ cancelled: true })
      throw refusal(
        409,
        "this run has begun, or is not in the queue; a run that goes on is stopped",
      )
    })
    .post("/api/jobs/:id/stop", (c) => {
      changing(readOnly)
      if (queue.stopExport(c.req.param("id"))) return c.json({ stopping: true })
      throw refusal(
        409,
        "no export of this number is being written by a process that is known here; a run is stopped on its own page",
      )
    })
}

function versionsOf(run: string): Record<string, unknown> {
  try {
    const versions: unknown = readRunRecord(run)?.versions
    return isObject(versions) ? versions : {}
  } catch {
    return {} // a config.json that is no JSON
  }
}
