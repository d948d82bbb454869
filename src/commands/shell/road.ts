/** What comes after a run: where to look, and the exact commands that go on. */

import { existsSync, statSync } from "node:fs"
import { join, relative, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { isObject } from "../../formats/json.ts"
import { commandLine, programName } from "../../host/invocation.ts"
import { shellWord } from "../../host/shell-word.ts"
import { plural } from "../../plural.ts"
import { shortDuration, shortNumber } from "../../report/units.ts"
import type { RunEvent } from "../../run/events.ts"
import { RUN_FILES } from "../../run/run-files.ts"
import { readRun, readRunRecord } from "../../run/run-folder.ts"
import type { RunResult } from "../../train/run.ts"

/** The ends of a run's curve, gathered while its events pass. */
export interface Course {
  readonly see: (event: RunEvent) => void
  /**
   * `nll 3.69 → 1.80 over 15 steps in 2m 11s`; undefined where there was no step. Of a run that
   * went on, which lies in `path`, from its first step: `over 15 steps, 3 of them now in 20s`.
   */
  readonly text: (path: string) => string | undefined
}

/** A tenth of the steps, and at most this many, are averaged at each end. */
const MOST_AVERAGED = 20

export function runCourse(): Course {
  const now: number[] = []
  const began = performance.now()
  let goesOn = false
  return {
    see(event) {
      if (event.type === "run.start") goesOn = event.step > 0
      if (event.type === "step") now.push(event.nll)
    },
    text(path) {
      if (now.length === 0) return undefined
      const nll = goesOn ? wholeCourse(path, now) : now
      const n = Math.min(MOST_AVERAGED, Math.ceil(nll.length / 10))
      const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length
      const ends = [mean(nll.slice(0, n)), mean(nll.slice(-n))].map((value) => shortNumber(value))
      const seconds = shortDuration((performance.now() - began) / 1000)
      const steps = `${nll.length} ${plural(nll.length, "step")}`
      const some = nll.length === now.length ? "" : `, ${now.length} of them now`
      return `nll ${ends.join(" → ")} over ${steps}${some} in ${seconds}`
    },
  }
}

/** Events that are read for a line of text. */
const MOST_EVENT_BYTES = 200e6

/** The steps of a run that went on, as its events say; those of now where they say less. */
function wholeCourse(path: string, now: readonly number[]): readonly number[] {
  if (statSync(join(path, RUN_FILES.events)).size > MOST_EVENT_BYTES) return now
  const all = readRun(path).events.flatMap((event) => (event.type === "step" ? [event.nll] : []))
  return all.length > now.length ? all : now
}

/** The lines below a finished run. */
export function afterRun({ path }: Pick<RunResult, "path">, course: string | undefined): string[] {
  const report = pathToFileURL(resolve(path, RUN_FILES.report)).href
  const isAdapter = existsSync(join(path, RUN_FILES.model, "adapter_config.json"))
  const [to, others] = isAdapter ? ["merged", "peft, gguf, ollama"] : ["hf", "gguf, ollama"]
  const rows = rowsAndBase(path)
  return [
    ...(course === undefined ? [] : [course]),
    `report    ${report}`,
    `chat      ${commandLine("chat", path)}`,
    ...(rows === undefined ? [] : rowCommands(path, rows)),
    `export    ${commandLine("export", path, "--to", to)}   (or ${others})`,
  ]
}

/** Asks its rows, and how likely it and its base find them. */
function rowCommands(path: string, { rows, base }: { rows: string; base: string }): string[] {
  return [
    ...(existsSync(rows) ? [`generate  ${commandLine("generate", path, "--prompts", rows)}`] : []),
    `compare   ${commandLine("eval", path, "--data", rows, "--against", base)}`,
  ]
}

/** undefined where the run's config names no rows. */
function rowsAndBase(path: string): { rows: string; base: string } | undefined {
  const config = readRunRecord(path)?.config
  if (!isObject(config) || !isObject(config.data) || typeof config.model !== "string") return
  const sources = [config.data.eval, config.data.train].flatMap((each) =>
    Array.isArray(each) ? (each as unknown[]) : [],
  )
  const rows = sources.find((each) => isObject(each) && typeof each.path === "string")
  if (!isObject(rows) || isObject(config.rollout)) return
  const shown = (file: string) => (existsSync(file) ? shorter(file) : file)
  return { rows: shown(String(rows.path)), base: shown(config.model) }
}

/** The command of another verb on the same config, with the same settings. */
export const sameConfig = (verb: string, config: string, set: readonly string[] = []): string =>
  commandLine(verb, config, ...(set.length === 0 ? [] : ["--set", ...set]))

/** A path as it is typed from here, where that is the shorter way. */
function shorter(path: string): string {
  const near = relative(process.cwd(), path)
  return near.length < path.length && near !== "" ? near : path
}

/**
 * The command that goes on with an interrupted run: the one that was given, with `--resume` where
 * there is something to resume.
 */
export function continuation(
  { steps }: Pick<RunResult, "steps">,
  words: readonly string[] = process.argv.slice(2),
): string {
  const own = words.filter((word, i) => {
    const value = words[i - 1] === "--resume" && !word.startsWith("-")
    return word !== "--resume" && !(value && /step-\d+\/?$/.test(word))
  })
  const again = [...own, ...(steps > 0 ? ["--resume"] : [])]
  return [programName(), ...again.map(shellWord)].join(" ")
}
