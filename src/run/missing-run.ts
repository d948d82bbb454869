import { existsSync, readdirSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import { closestName } from "../closest-name.ts"
import { InputError } from "../errors.ts"
import { statOf } from "../host/stat.ts"
import { isRunFolder } from "./run-folder.ts"

/** Where runs go whose config does not say. */
const RUNS = "runs"
const SHOWN = 6

const runsIn = (folder: string): string[] =>
  statOf(folder)?.isDirectory()
    ? readdirSync(folder).filter((name) => isRunFolder(join(folder, name)))
    : []

/**
 * A name that means a run which is not there is no hub id: `runs/mine` is never asked for on a
 * network.
 *
 * @throws InputError naming the runs that are there
 */
export function refuseMissingRun(path: string): void {
  if (existsSync(path)) return
  const plain = path.replace(/[\\/]+$/, "")
  const parent = dirname(plain)
  const name = basename(plain)
  if (parent === ".") {
    if (!isRunFolder(join(RUNS, name))) return
    throw new InputError(`${path}: no such folder; did you mean ${join(RUNS, name)}?`)
  }
  const runs = runsIn(parent)
  if (runs.length === 0 && basename(parent) !== RUNS) return
  const near = closestName(name, runs)
  const there =
    runs.length === 0
      ? `${parent} holds no run yet; dftune train makes one`
      : near === undefined
        ? `${parent} holds ${runs.slice(-SHOWN).join(", ")}`
        : `did you mean ${join(parent, near)}?`
  throw new InputError(`${path}: no such run; ${there}`)
}
