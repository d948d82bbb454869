/** Runs that the page asked for, in a file: they outlive the page and the server. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { z } from "zod"
import { makeFolder, replaceFileNow } from "../formats/atomic.ts"

const job = z.strictObject({
  id: z.string().regex(/^[\w-]{1,64}$/),
  /** The run's name in the folder of the server. */
  run: z.string(),
  /** Goes on from the run's newest checkpoint; else the config of this id begins it. */
  resume: z.boolean(),
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
