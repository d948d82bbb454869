/** W&B and Trackio: the user's own Python package, in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { basename, resolve } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { isObject } from "../formats/json.ts"
import { killGroup } from "../host/process-group.ts"
import { keepId, keptId } from "./kept-ids.ts"
import { withoutKeys } from "./keys.ts"
import { scalars } from "./scalars.ts"
import type { TrackedRun, Tracker } from "./tracker.ts"

export type PythonPackage = "wandb" | "trackio"

const SCRIPT = fileURLToPath(new URL("../../worker/dftune_track.py", import.meta.url))

/** To find the package, and to send what is left. */
const START_MS = 20_000
const CLOSE_MS = 30_000
/** What the package may leave unread before it is let go of. */
const MOST_BYTES = 32 * 2 ** 20
const MOST_SAID = 2_000

/** @throws Error where there is no Python, or it has no such package */
export async function openPythonTracker(
  name: PythonPackage,
  { outputDir, settings }: TrackedRun,
): Promise<Tracker> {
  const python = process.env.DFTUNE_PYTHON || "python3"
  const child = spawn(python, ["-u", SCRIPT, name], {
    stdio: ["pipe", "pipe", "pipe"],
    detached: process.platform !== "win32", // Ctrl-C is for the run
  })
  const answers = answersOf(child, python)
  const ready = await answers.next(START_MS)
  const tell = (line: object) => {
    if (answers.failure) throw answers.failure
    if (child.stdin.writableLength > MOST_BYTES) {
      throw new Error(`${name} is slower than the run; it is told no more`)
    }
    child.stdin.write(`${JSON.stringify(line)}\n`)
  }
  const end = () => {
    child.stdin.end()
    killGroup(child)
  }
  if (ready instanceof Error) {
    end()
    throw ready
  }
  let begun = false
  let ended = false
  return {
    name,
    see(event) {
      if ((event.type === "run.start" || event.type === "reset") && !begun) {
        begun = true
        const earlier = event.step > 0 ? keptId(outputDir, name) : undefined
        // an id of our own, so that the run can be found again whatever becomes of this process
        const id =
          earlier ?? `${basename(resolve(outputDir)).slice(0, 40)}-${randomUUID().slice(0, 8)}`
        void keepId(outputDir, name, id).catch(() => {}) // then a resumed run is told as a new one
        tell({ start: { name: basename(resolve(outputDir)), settings, id } })
      }
      const values = scalars(event)
      if (values.length > 0) tell({ log: [[event.step, Object.fromEntries(values)]] })
      if (event.type === "run.end" && "reason" in event) {
        ended = true
        tell({ end: event.reason === "done" ? 0 : 1 })
      }
    },
    async close() {
      try {
        if (!begun) return
        if (!ended) tell({ end: 1 })
        const last = await answers.until("done", CLOSE_MS)
        if (last instanceof Error) throw last
      } finally {
        end()
      }
    },
  }
}

interface Answers {
  readonly failure: Error | undefined
  /** The next answer; an Error that the process told, or ended with. */
  next(ms: number): Promise<object | Error>
  until(key: string, ms: number): Promise<object | Error>
}

function answersOf(child: ChildProcess, python: string): Answers {
  const waiting: (object | Error)[] = []
  let wake = () => {}
  let failure: Error | undefined
  const told = (answer: object | Error) => {
    if (answer instanceof Error) failure ??= answer
    waiting.push(answer)
    wake()
  }
  let said = ""
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    said = (said + text).slice(-MOST_SAID)
  })
  createInterface({ input: child.stdout! }).on("line", (line) => {
    try {
      const answer: unknown = JSON.parse(line)
      if (!isObject(answer)) return
      told("error" in answer ? new Error(withoutKeys(String(answer.error))) : answer)
    } catch {
      // not ours
    }
  })
  child.stdin!.on("error", () => {}) // told by its end
  child.on("error", (error) => told(new Error(`${python} does not run: ${error.message}`)))
  child.on("close", (code) => {
    const last = said.trim().split("\n").at(-1) ?? ""
    told(failure ?? new Error(withoutKeys(`its process ended with ${code}: ${last}`)))
  })
  const next = async (ms: number): Promise<object | Error> => {
    if (waiting.length === 0) {
      await new Promise<void>((resolve) => {
        const late = setTimeout(resolve, ms)
        wake = () => {
          clearTimeout(late)
          resolve()
        }
      })
    }
    return waiting.shift() ?? new Error(`no answer after ${ms / 1000} s`)
  }
  return {
    get failure() {
      return failure
    },
    next,
    async until(key, ms) {
      const end = Date.now() + ms
      for (;;) {
        const answer = await next(Math.max(0, end - Date.now()))
        if (answer instanceof Error || key in answer) return answer
      }
    },
  }
}
