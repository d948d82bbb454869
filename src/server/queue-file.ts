/**
 * Runs and exports that the page asked for, in a file: they outlive the page and the server. It
 * lies in the user's own cache: what waits in it is started, so a folder of runs, which may be a
 * stranger's, has no say in it.
 */
import { createHash } from "node:crypto"
import { realpathSync } from "node:fs"
import { join } from "node:path"
import { z } from "zod"
import type { ExportResult } from "../export/index.ts"
import {
  DTYPES,
  EXPORT_FORMATS,
  GGUF_TYPE_NAMES,
  type GgufTypeName,
  ROUNDINGS,
} from "../export/names.ts"
import { makeFolder, replaceFileNow } from "../formats/atomic.ts"
import { jsonOfFile } from "../formats/plain-file.ts"
import { cacheFolder } from "../host/cache-folder.ts"

/** What the page asks of an export, in the verb's own words. */
export const exportAsked = z.strictObject({
  to: z.enum(EXPORT_FORMATS),
  type: z.enum(Object.keys(GGUF_TYPE_NAMES) as [GgufTypeName]).optional(),
  dtype: z.enum(Object.keys(DTYPES) as [keyof typeof DTYPES]).optional(),
  rounding: z.enum(ROUNDINGS).optional(),
  /** The step of the checkpoint that is written; left out: the result, or the newest checkpoint. */
  checkpoint: z.int().min(0).optional(),
  /** Whether what an earlier one wrote there may go. */
  force: z.boolean().optional(),
})
export type ExportAsked = z.infer<typeof exportAsked>

const job = z.strictObject({
  id: z.string().regex(/^[\w-]{1,64}$/),
  /** The run's name in the folder of the server. */
  run: z.string(),
  /** Goes on from the run's newest checkpoint; else the config of this id begins it. */
  resume: z.boolean(),
  /** Writes the run's model for other tools, in place of training it. */
  export: exportAsked.optional(),
  state: z.enum(["waiting", "running", "done", "failed", "stopped"]),
  added: z.string(),
  pid: z.number().int().positive().optional(),
  /** What the run said when it failed. */
  message: z.string().optional(),
})
export type Job = z.infer<typeof job>

/** Of the folder of runs `dir`. */
export function queuePath(dir: string, name = ""): string {
  const place = createHash("sha256").update(realpathSync(dir)).digest("hex").slice(0, 32)
  return join(cacheFolder(), "queues", place, name)
}

export function readQueue(dir: string): Job[] {
  const read = z.array(job).safeParse(jsonOfFile(queuePath(dir, "queue.json")))
  return read.success ? read.data : []
}

export function writeQueue(dir: string, jobs: readonly Job[]): void {
  makeFolder(queuePath(dir))
  replaceFileNow(queuePath(dir, "queue.json"), `${JSON.stringify(jobs, null, 2)}\n`)
}

export function writeJobConfig(dir: string, id: string, config: unknown): void {
  makeFolder(queuePath(dir))
  replaceFileNow(queuePath(dir, `${id}.json`), `${JSON.stringify(config, null, 2)}\n`)
}

/** What the command that writes an export has printed; undefined until all of it is there. */
export function exportResult(dir: string, id: string): ExportTold | undefined {
  return jsonOfFile(resultPath(dir, id)) as ExportTold | undefined
}

export const resultPath = (dir: string, id: string): string => queuePath(dir, `${id}.result.json`)

/** As `dftune export --json` prints it. */
export type ExportTold = Omit<ExportResult, "verified"> & {
  readonly verified: {
    readonly tensors: number
    readonly values: number
    readonly largest_error: number
  }
}

/** The folder of a run that an export goes to, below the run's own `export/`. */
export const exportName = ({ to, type, dtype, checkpoint }: ExportAsked): string =>
  [to, type ?? dtype, checkpoint === undefined ? undefined : `step-${checkpoint}`]
    .filter((part) => part !== undefined)
    .join("-")
