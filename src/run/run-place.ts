import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/index.ts"
import { globFiles, isGlob } from "../data/glob.ts"
import { InputError } from "../errors.ts"
import { plainHead, plainText } from "../formats/plain-file.ts"
import { checkOutputFolder, isSamePlace, type ReadPlace } from "../host/output-place.ts"
import { ownPlace } from "../host/own-place.ts"
import { statOf } from "../host/stat.ts"
import {
  checkpointName,
  GROWING_FILES,
  RUN_FILES,
  stepOfCheckpoint,
  TORCH_FILES,
} from "./run-files.ts"
import { refuseRunning } from "./run-lock.ts"

/** What a folder is to a run that wants to write there. */
export type RunPlace =
  /** No file of a run's name is there. */
  | "free"
  /** A run began there and has saved nothing: it can begin again. */
  | "begun"
  /** A run with a checkpoint or a result. */
  | "run"

/** The state of a run, in every checkpoint of every engine. */
const CHECKPOINT_MARK = "trainer.json"

const isFilled = (path: string): boolean => (statOf(path)?.size ?? 0) > 0

function json(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Whether `config.json` is a run's record, and not a model's or somebody's own. */
function isRecord(path: string): boolean {
  if (!existsSync(path)) return false
  const record = json(plainText(path))
  return typeof record === "object" && record !== null && "config" in record && "versions" in record
}

/** Longer than any first event. */
const HEAD_BYTES = 2 ** 22

function isEventLog(path: string): boolean {
  if (!isFilled(path)) return false
  const [line = ""] = plainHead(path, HEAD_BYTES).toString("utf8").split("\n", 1)
  const event = json(line)
  return typeof event === "object" && event !== null && "type" in event && "step" in event
}

/** Names of checkpoints that a run wrote. */
export function ownCheckpoints(path: string): string[] {
  const folder = join(path, RUN_FILES.checkpoints)
  if (!statOf(folder)?.isDirectory()) return []
  return readdirSync(folder).filter(
    (name) => /^step-\d{6,}$/.test(name) && existsSync(join(folder, name, CHECKPOINT_MARK)),
  )
}

/** Where a run's checkpoint of a step is, or would be. */
export const checkpointPath = (run: string, step: number): string =>
  join(run, RUN_FILES.checkpoints, checkpointName(step))

/** The steps that a run has a checkpoint of, the first one first. */
export const checkpointSteps = (path: string): number[] =>
  ownCheckpoints(path)
    .map(stepOfCheckpoint)
    .sort((a, b) => a - b)

/**
 * Tells what is in a folder.
 *
 * @throws InputError for a file or folder of a run's name that no run wrote
 */
export function runPlace(path: string): RunPlace {
  const at = (name: keyof typeof RUN_FILES) => join(path, RUN_FILES[name])
  if (isRecord(at("config")) || isEventLog(at("events"))) {
    return existsSync(at("model")) || ownCheckpoints(path).length > 0 ? "run" : "begun"
  }
  refuseForeign(path, Object.values(RUN_FILES))
  return "free"
}

function refuseForeign(path: string, names: readonly string[]): void {
  for (const name of names) {
    const file = statOf(join(path, name))
    if (file === undefined || (file.isFile() && file.size === 0)) continue
    const kind = file.isDirectory() ? "a folder" : "a file"
    throw new InputError(
      `output_dir ${path}: holds ${kind} ${name} that no run wrote, and a run would write its own there; give another output_dir`,
    )
  }
}

/**
 * Refuses a run's folder, which may be a stranger's, where what is written would go to another.
 *
 * @throws InputError naming the link
 */
export function refuseRunLinks(path: string): void {
  for (const name of GROWING_FILES) ownPlace(path, name)
}

export const holdsRun = (path: string): string =>
  `${path}: already holds a run; continue it with --resume, replace it with --overwrite (it removes what the run wrote, nothing else), or give another output_dir`

/** Refuses rows that are read from a file that the run itself writes. */
function checkRows(path: string, { data }: Config): void {
  const own = Object.values(RUN_FILES)
    .map((name) => ({ name, file: join(path, name) }))
    .filter(({ file }) => statOf(file)?.isFile())
  if (own.length === 0) return
  for (const source of [...data.train, ...data.eval, ...data.benchmarks]) {
    const read = isGlob(source.path) ? globFiles(source.path) : [source.path]
    for (const row of read) {
      const taken = own.find(({ file }) => isSamePlace(file, row))
      if (taken === undefined) continue
      throw new InputError(
        `output_dir ${path}: rows are read from its ${taken.name}, which the run writes; give another output_dir`,
      )
    }
  }
}

/** Every model that a run reads: what is a hub id is no place, and is passed over by the check. */
function modelsRead({ model, adapter, teacher, reference, rollout }: Config): ReadPlace[] {
  const rewards = (rollout?.rewards ?? []).flatMap((reward) =>
    "model" in reward && typeof reward.model === "string" ? [reward.model] : [],
  )
  const named: readonly (readonly [string | null | undefined, string])[] = [
    [model, "the model"],
    [adapter?.path, "the adapter"],
    [teacher?.model, "the teacher"],
    [reference, "the reference"],
    ...rewards.map((path) => [path, "a reward model"] as const),
  ]
  return named.flatMap(([path, what]) => (path ? [{ path, what }] : []))
}

/**
 * Refuses an output folder where a run would harm what it did not make. Called before any work.
 *
 * @throws InputError
 */
export function checkRunPlace(config: Config): RunPlace {
  const { output_dir: path, resume, overwrite_output_dir: overwrite, engine } = config
  checkOutputFolder(path, { option: "output_dir", reads: modelsRead(config) })
  refuseRunLinks(path)
  refuseRunning(path)
  const place = runPlace(path)
  if (place === "free" && engine.name === "torch") refuseForeign(path, TORCH_FILES)
  checkRows(path, config)
  if (place === "run" && resume === false && !overwrite) throw new InputError(holdsRun(path))
  return place
}
