import type { Command } from "commander"
import type { Config } from "../config/index.ts"
import { loadConfig } from "../config/load-config.ts"
import type { Run } from "../engines/engine.ts"
import { planOf, train } from "../engines/index.ts"
import { InputError } from "../errors.ts"
import { plural } from "../plural.ts"
import { terminalOptions, terminalView } from "../report/live-view.ts"
import type { RunEvent } from "../run/events.ts"
import type { RunResult } from "../train/run.ts"
import { approval } from "./shell/approval.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { outliveReaders, write } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { afterRun, continuation, runCourse } from "./shell/road.ts"
import { keepBelow, print, printJson, say, sayWarning } from "./shell/terminal.ts"

interface Options {
  readonly set?: string[]
  readonly resume?: boolean | string
  readonly keepRows?: boolean
  readonly overwrite?: boolean
  readonly allowCode?: boolean
  readonly dryRun?: boolean
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("<config>", "dftune.yaml, a .json or a TypeScript module")
    .addOption(setOption())
    .option("--resume [checkpoint]", "continue output_dir's newest checkpoint, or this one")
    .option("--keep-rows", "with --resume: the run's own rows, where this version makes others")
    .option("--dry-run", "find the model, prepare the data, say what would happen, train nothing")
    .option("--json", "print every event as a line of JSON on stdout")
    .option(
      "--overwrite",
      "remove the run that output_dir holds (only what a run wrote) and begin anew",
    )
    .option("--allow-code", "run the programs that a run's own config.json names, unasked")
    .action(async (path: string, options: Options) => {
      const { set = [], resume, keepRows, dryRun, json, allowCode, overwrite } = options
      if (overwrite && resume !== undefined) {
        throw new InputError("--overwrite begins anew and --resume goes on: give one of them")
      }
      const flags = [
        ...(resume === undefined ? [] : [`resume=${JSON.stringify(resume)}`]),
        ...(overwrite ? ["overwrite_output_dir=true"] : []),
        ...(keepRows ? ["keep_rows=true"] : []),
      ]
      const approve = approval(allowCode === true)
      const config = await loadConfig(path, { set: [...set, ...flags], approve })
      await interruptible(
        async (signal) => {
          if (dryRun) await showPlan(config, signal, json === true)
          else {
            say(placeLine(config))
            const view = runView(json === true)
            const run = train(config, { signal, onProgress: view.progress, timed: true })
            await followRun(run, json === true, view).catch((error: Error) => {
              if (error.name === "AbortError")
                say(`stopped while the run was prepared; to begin again:\n  ${sameAgain(config)}`)
              throw error
            })
          }
        },
        { stopping: "stopping with a checkpoint" },
      )
    })
}

/** For a run that was stopped before it began: what it was to resume, if anything, is as it was. */
const sameAgain = ({ resume }: Config): string => continuation({ steps: resume === false ? 0 : 1 })

/** Which folder is meant, which a config need not say. */
function placeLine({
  output_dir: folder,
  resume,
  overwrite_output_dir: overwrite,
}: Config): string {
  if (resume !== false) return `going on in ${folder}`
  return overwrite ? `starting over in ${folder}` : `run folder ${folder}`
}

/** What a run shows of itself on stderr. */
function runView(json: boolean) {
  const line = progressLine()
  const options = terminalOptions(process.stderr)
  const tell = (text: string) => {
    line.told()
    write(process.stderr, text)
  }
  const view = terminalView(tell, options)
  let begun = false
  return {
    ...view,
    show(event: RunEvent) {
      line.clear()
      begun = true
      view.show(event)
    },
    /** Below the run's own lines, once there are some. */
    progress(text: string) {
      if (begun && !json && options.live) view.status(text)
      else line.show(text)
    },
    close() {
      line.clear()
      view.close()
    },
  }
}

/** Shows a run's events until it ends. */
export async function followRun(run: Run, json: boolean, view = runView(json)): Promise<void> {
  outliveReaders()
  const course = runCourse()
  try {
    for await (const event of run) {
      course.see(event)
      if (json) printJson(event)
      else {
        keepBelow(view)
        view.show(event)
      }
    }
  } finally {
    view.close()
    keepBelow(undefined)
  }
  const result = await run.result
  if (result.wasDone) say(doneLine(result))
  if (json) return
  if (result.reason === "interrupted") {
    say(`stopped after step ${result.steps}; to go on:\n  ${continuation(result)}`)
  } else {
    for (const line of afterRun(result, course.text(result.path))) say(line)
    // the last event has said it to whoever reads both
    if (!process.stdout.isTTY || !process.stderr.isTTY) print(result.model ?? result.path)
  }
}

/** Of a finished run that was to go on. */
const doneLine = ({ path, steps }: RunResult): string =>
  `${path}: this run is done, after ${steps} ${plural(steps, "step")}; nothing was changed. For more steps give another output_dir, or start over with --overwrite`

async function showPlan(config: Config, signal: AbortSignal, json: boolean): Promise<void> {
  const line = progressLine()
  const {
    lines,
    warnings,
    json: document,
  } = await planOf(config, { signal, onProgress: line.show, timed: true })
  line.clear()
  for (const { code, message, hint } of warnings) sayWarning(code, message, hint)
  if (json) return printJson(document)
  for (const [name, text] of lines) print(`${name.padEnd(12)} ${text}`)
}
