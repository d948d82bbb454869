/** Where a run goes whose config does not say: `runs/my-run`, `runs/my-run-2`, ... */
import { readdirSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { statOf } from "../host/stat.ts"
import type { Config } from "./resolve-config.ts"
import { DEFAULT_OUTPUT_DIR } from "./schema.ts"

const isThere = (...path: string[]): boolean => statOf(join(...path)) !== undefined

const hasCheckpoint = (folder: string): boolean =>
  statOf(join(folder, "checkpoints"))?.isDirectory() === true &&
  readdirSync(join(folder, "checkpoints")).some((name) => name.startsWith("step-"))

/** Whether something is in a folder that a new run must not meet: a result, or a run at work. */
const isTaken = (folder: string): boolean =>
  isThere(folder, "model") || hasCheckpoint(folder) || isThere(folder, "run.lock")

const hasBegun = (folder: string): boolean =>
  isThere(folder, "config.json") || isThere(folder, "events.jsonl")

/** The number of a folder's name: 1 for `my-run`, 2 for `my-run-2`; undefined for others. */
function numberOf(name: string): number | undefined {
  const base = basename(DEFAULT_OUTPUT_DIR)
  if (name === base) return 1
  const digits = name.startsWith(`${base}-`) ? name.slice(base.length + 1) : ""
  return /^([2-9]|[1-9]\d{1,8})$/.test(digits) ? Number(digits) : undefined
}

const named = (number: number): string =>
  number <= 1 ? DEFAULT_OUTPUT_DIR : `${DEFAULT_OUTPUT_DIR}-${number}`

/** The highest number of a folder for which `is` holds; 0 where there is none. */
function highest(is: (folder: string) => boolean): number {
  const parent = dirname(DEFAULT_OUTPUT_DIR)
  if (statOf(parent)?.isDirectory() !== true) return 0
  const numbers = readdirSync(parent).flatMap((name) => {
    const number = numberOf(name)
    return number !== undefined && is(join(parent, name)) ? [number] : []
  })
  return Math.max(0, ...numbers)
}

/**
 * The folder of a run whose config leaves `output_dir` out. `resume: true` and
 * `overwrite_output_dir` mean the newest run that is there, a checkpoint means its own run, all
 * others the next free name. A job that Slurm starts later is found again by its fixed name.
 */
export function outputFolder({
  resume,
  overwrite_output_dir: overwrite,
  engine,
}: Pick<Config, "resume" | "overwrite_output_dir" | "engine">): string {
  if (engine.name === "torch" && engine.launcher === "slurm") return DEFAULT_OUTPUT_DIR
  if (typeof resume === "string") {
    const own = dirname(dirname(resolve(resume)))
    const number = numberOf(basename(own))
    if (number !== undefined && resolve(named(number)) === own) return named(number)
  } else if (resume || overwrite) {
    return named(highest((folder) => hasBegun(folder) || isTaken(folder)))
  }
  return named(highest(isTaken) + 1)
}
