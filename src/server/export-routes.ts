/** A run's model for other tools, and the run as one file: what the page may ask to be written. */
import { lstatSync, readdirSync, statSync } from "node:fs"
import { join } from "node:path"
import { Hono } from "hono"
import { shellWord } from "../host/shell-word.ts"
import { reportHtml } from "../report/run-page.ts"
import { summarizeRun } from "../report/run-summary.ts"
import { RUN_FILES, readRun } from "../run/run-folder.ts"
import { checkpointSteps } from "../run/run-place.ts"
import { bodyAs } from "./body.ts"
import { configOf } from "./described-run.ts"
import type { JobQueue } from "./job-queue.ts"
import {
  type ExportAsked,
  type ExportTold,
  exportAsked,
  exportName,
  exportResult,
  type Job,
} from "./queue-file.ts"
import { refusal } from "./refusal.ts"
import { folderOfRuns, type NamedRun } from "./run-folders.ts"
import { changing, namedRun } from "./run-routes.ts"
import { type Allowed, checkStart } from "./start-checks.ts"

/** Of events.jsonl; a larger one would hold the server up, and its memory; bytes. */
const MOST_REPORTED = 64 * 2 ** 20

export interface ExportRoutesOptions {
  readonly dir: string
  readonly readOnly: boolean
  readonly queue: JobQueue
  readonly allowed: Allowed
}

export interface ToldExports {
  /** The newest first. */
  readonly jobs: readonly (Job & { readonly result?: ExportTold })[]
  /** What lies in the run's `export/`. */
  readonly folders: readonly {
    readonly name: string
    readonly path: string
    readonly bytes: number
  }[]
}

export function exportRoutes({ dir, readOnly, queue, allowed }: ExportRoutesOptions): Hono {
  return new Hono()
    .get("/api/runs/:name/exports", (c) => {
      const run = namedRun(c, dir)
      const jobs = queue.jobs
        .filter((job) => job.run === run.name && job.export)
        .map((job) => {
          const result = exportResult(folderOfRuns(dir), job.id)
          return { ...job, ...(result ? { result } : {}) }
        })
      const told: ToldExports = { jobs: jobs.reverse(), folders: exportFolders(run) }
      return c.json(told)
    })
    .post("/api/runs/:name/export", async (c) => {
      const run = namedRun(c, dir)
      changing(readOnly)
      const asked = await bodyAs(exportAsked, c)
      const name = exportName(asked)
      checkStart(configOf(run.path), allowed)
      checkOwnFolders(run, name)
      checkCheckpoint(run, asked)
      if (queue.exports(run.name, asked)) {
        throw refusal(409, `this export is being written already, or waits for its turn`)
      }
      const isThere = exportFolders(run).some((folder) => folder.name === name)
      if (isThere && asked.force !== true) {
        throw refusal(409, `${join(run.path, "export", name)} is there already`, {
          code: "export_exists",
        })
      }
      return c.json(queue.add({ run: run.name, resume: false, export: asked }))
    })
    .get("/api/runs/:name/report", (c) => {
      const { name, path } = namedRun(c, dir)
      if (statSync(join(path, RUN_FILES.events)).size > MOST_REPORTED) {
        const command = `dftune compare ${shellWord(path)} --html report.html`
        throw refusal(413, `this run has told too much for a page to wait for; run ${command}`)
      }
      // Made anew of the events: a file of a run's folder may be a stranger's.
      const html = reportHtml([summarizeRun(readRun(path), name)])
      return c.body(html, 200, {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Disposition": `attachment; filename="report.html"`,
        "Content-Security-Policy": "sandbox",
      })
    })
}

function checkCheckpoint({ path }: NamedRun, { checkpoint }: ExportAsked): void {
  const steps = checkpointSteps(path)
  if (checkpoint === undefined || steps.includes(checkpoint)) return
  const there = steps.length === 0 ? "it has none" : `it has those of ${steps.join(", ")}`
  throw refusal(400, `this run has no checkpoint of step ${checkpoint}; ${there}`, {
    param: "checkpoint",
  })
}

/** A run folder may be a stranger's: what is written goes where it says, not where a link leads. */
function checkOwnFolders({ path }: NamedRun, name: string): void {
  for (const folder of [join(path, "export"), join(path, "export", name)]) {
    const stats = lstatSync(folder, { throwIfNoEntry: false })
    if (stats === undefined || stats.isDirectory()) continue
    throw refusal(409, `${folder}: expected a folder, found a link or a file`)
  }
}

function exportFolders({ path }: NamedRun): ToldExports["folders"] {
  const parent = join(path, "export")
  const stats = lstatSync(parent, { throwIfNoEntry: false })
  if (!stats?.isDirectory()) return []
  return readdirSync(parent, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map(({ name }) => {
      const folder = join(parent, name)
      // a link's own size, wherever it leads
      const sizes = readdirSync(folder).map((file) => lstatSync(join(folder, file)).size)
      return { name, path: folder, bytes: sizes.reduce((sum, size) => sum + size, 0) }
    })
}
