import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { ownPlace } from "../host/own-place.ts"
import { record, records, scalarsEvent, startEvent, stepOf, versionEvent } from "./event-file.ts"
import { scalars } from "./scalars.ts"
import type { TrackedEvent, Tracker } from "./tracker.ts"

/** In the run folder. */
const TENSORBOARD_FOLDER = "tensorboard"

/** Ours alone; other programs put their host's name last. Sorted by name, they are in order. */
const OWN_FILE = /^events\.out\.tfevents\.(\d{10})\.dftune$/

/** Scalars of every step, evaluation and rollout, in `outputDir`/tensorboard. */
export function openTensorboard(outputDir: string): Tracker {
  const folder = join(outputDir, TENSORBOARD_FOLDER)
  let file: number | undefined
  const close = () => {
    if (file !== undefined) closeSync(file)
    file = undefined
  }
  const begin = ({ step, time }: TrackedEvent) => {
    close()
    ownPlace(outputDir, TENSORBOARD_FOLDER)
    mkdirSync(folder, { recursive: true })
    dropAfter(folder, step)
    file = openSync(join(folder, nextName(folder)), "ax")
    writeSync(file, record(versionEvent(seconds(time))))
    if (step > 0) writeSync(file, record(startEvent(seconds(time), step + 1)))
  }
  return {
    name: "tensorboard",
    see(event) {
      if (event.type === "run.start" || event.type === "reset") begin(event)
      if (file === undefined) return
      const told = scalars(event)
      if (told.length > 0)
        writeSync(file, record(scalarsEvent(seconds(event.time), event.step, told)))
    },
    close,
  }
}

/** Removes what runs wrote there, and the folder when nothing else is in it. */
export function clearTensorboard(outputDir: string): void {
  const folder = ownPlace(outputDir, TENSORBOARD_FOLDER)
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return
  for (const name of ownFiles(folder)) rmSync(join(folder, name))
  if (readdirSync(folder).length === 0) rmSync(folder, { recursive: true })
}

const seconds = (time: string) => Date.parse(time) / 1000

const ownFiles = (folder: string) =>
  readdirSync(folder)
    .filter((name) => OWN_FILE.test(name))
    .sort()

function nextName(folder: string): string {
  const last = ownFiles(folder).at(-1)
  const number = last === undefined ? 1 : Number(OWN_FILE.exec(last)![1]) + 1
  return `events.out.tfevents.${String(number).padStart(10, "0")}.dftune`
}

/**
 * A run goes on from `step`: what earlier ones told of later steps is overtaken, and with step 0
 * all of it. A record that a killed run left half written goes too.
 */
function dropAfter(folder: string, step: number): void {
  for (const name of ownFiles(folder)) {
    const path = join(folder, name)
    const bytes = readFileSync(path)
    const kept = step === 0 ? [] : records(bytes).filter((event) => stepOf(event) <= step)
    if (kept.length === 0) {
      rmSync(path)
      continue
    }
    const rest = Buffer.concat(kept.map(record))
    if (rest.equals(bytes)) continue
    const temporary = join(folder, "overtaken.tmp") // a name that TensorBoard does not read
    rmSync(temporary, { force: true })
    writeFileSync(temporary, rest, { flag: "wx" })
    renameSync(temporary, path)
  }
}
