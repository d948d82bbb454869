/** Runs and exports that the page asked for, in a file: they outlive the page and the server. */
import { existsSync, readFileSync } from "node:fs"
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

/** What the page asks of an export, in the verb's own words. */
export const exportAsked = z.strictObject({
  to: z.enum(EXPORT_FORMATS),
  type: z.enum(Object.keys(GGUF_TYPE_NAMES) as [GgufTypeName]).optional(),
  dtype: z.enum(Object.keys(DTYPES) as [keyof typeof DTYPES]).optional(),
  rounding: z.enum(ROUNDINGS).optional(),
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
  state: z.enum(["waiting", "running", "done", "failed"]),
  added: z.string(),
  pid: z.number().int().positive().optional(),
  /** What the run said when it failed. */
  message: z.string().optional(),
})
export type Job = z.infer<typeof job>

const FOLDER = ".dftune-queue"

export const queuePath = (dir: string, name: string): string => join(dir, FOLDER, name)

export function readQueue(dir: string): Job[] {
  const path = queuePath(dir, "queue.json")
  if (!existsSync(path)) return []
  try {
    const read = z.array(job).safeParse(JSON.parse(readFileSync(path, "utf8")))
    return read.success ? read.data : []
  } catch {
    return [] // no JSON: nobody's queue
  }
}

export function writeQueue(dir: string, jobs: readonly Job[]): void {
  makeFolder(join(dir, FOLDER))
  replaceFileNow(queuePath(dir, "queue.json"), `${JSON.stringify(jobs, null, 2)}\n`)
}

export function writeJobConfig(dir: string, id: string, config: unknown): void {
  makeFolder(join(dir, FOLDER))
  replaceFileNow(queuePath(dir, `${id}.json`), `${JSON.stringify(config, null, 2)}\n`)
}

/** What the command that writes an export has printed; undefined until all of it is there. */
export function exportResult(dir: string, id: string): ExportTold | undefined {
  const path = resultPath(dir, id)
  if (!existsSync(path)) return undefined
  try {
    return JSON.parse(readFileSync(path, "utf8"))
  } catch {
    return undefined
  }
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
export const exportName = ({ to, type, dtype }: ExportAsked): string =>
  [to, type ?? dtype].filter((part) => part !== undefined).join("-")
