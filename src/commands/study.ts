import type { Command } from "commander"
import { InputError } from "../errors.ts"
import { plural } from "../plural.ts"
import { shortDuration } from "../report/units.ts"
import { type StudyPlan, study, studyJobs, studyPlan } from "../study/study.ts"
import { studyMarkdown } from "../study/study-report.ts"
import { interruptible } from "./shell/interrupt.ts"
import { outliveReaders } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson, say } from "./shell/terminal.ts"

interface Options {
  readonly plan?: boolean
  readonly time?: boolean
  readonly cells?: string[]
  readonly retry?: boolean
  readonly slurm?: boolean
  readonly report?: boolean
  readonly json?: boolean
}

/** Each is another thing to do with a study. */
const PARTS = ["plan", "slurm", "report", "cells"] as const

export function command(verb: Command): void {
  verb
    .argument("<study>", "STUDY.yaml, or a file of a study's events")
    .option("--plan", "print the runs and how small a difference they can show; run nothing")
    .option("--time", "with --plan: time some steps and answers, and say how long it will take")
    .option("--cells <id...>", "only these runs of the study")
    .option("--retry", "try runs again that failed")
    .option("--slurm", "write job files: an array of the runs, and the report after them")
    .option("--report", "run nothing; write the report of what is there")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nAn interrupted study goes on when the same command is run again.")
    .action(async (path: string, options: Options) => {
      if (options.time && !options.plan)
        throw new InputError("--time: belongs to --plan; add --plan")
      const [first, other] = PARTS.filter((one) => options[one] !== undefined)
      if (other !== undefined)
        throw new InputError(`--${other}: not together with --${first}; give one of them`)
      if (path.endsWith(".jsonl")) {
        const asked = first ?? (options.retry ? "retry" : undefined)
        if (asked !== undefined)
          throw new InputError(`--${asked}: belongs to a STUDY.yaml; of events there is a report`)
        return run(path, options)
      }
      if (options.plan) return showPlan(path, options)
      if (options.slurm) {
        const file = await studyJobs(path)
        say("written; submit them with bash")
        return print(file)
      }
      outliveReaders()
      await run(path, options)
    })
}

async function run(path: string, { cells, retry, report, json }: Options): Promise<void> {
  const line = progressLine()
  const told = { onProgress: line.show, onNotice: say }
  const result = await interruptible(
    (signal) => study(path, { signal, retry, cells, reportOnly: report, ...told }),
    { stopping: "stopping; run again to go on" },
  )
  line.clear()
  if (result === undefined) return
  if (json) printJson(result)
  else print(studyMarkdown(result))
}

async function showPlan(path: string, { json = false, time = false }: Options): Promise<void> {
  const line = progressLine()
  const plan = await interruptible((signal) =>
    studyPlan(path, { timed: time, signal, onProgress: line.show }),
  )
  line.clear()
  if (json) printJson(plan)
  else for (const text of planLines(plan)) print(text)
}

const counted = (count: number, what: string) => `${count} ${plural(count, what)}`

/** Shares of right answers differ by 100 points at most. */
const found = (difference: number) =>
  difference < 1
    ? `a difference of ${(100 * difference).toFixed(1)} points is found in about 80 of 100 such studies`
    : "too few for any difference to be found in 80 of 100 such studies"

function planLines({ runs, contrasts, evaluations, seconds }: StudyPlan): string[] {
  return [
    `${runs.length} models are asked: ${runs.join(", ")}`,
    ...contrasts.map(({ name }) => `contrast: ${name}`),
    ...evaluations.map(
      ({ name, problems, n, seeds, smallest_difference: least }) =>
        `${name}: ${counted(problems, "problem")}, ${counted(n, "sample")}, ${counted(seeds, "seed")}: ${found(least)}`,
    ),
    ...(seconds === undefined
      ? []
      : [
          ...Object.entries(seconds.training).map(
            ([arm, training]) => `training ${arm}: ${shortDuration(training)}`,
          ),
          `asking: about ${shortDuration(seconds.asking)}`,
          `in all, here and one after another: about ${shortDuration(seconds.total)}`,
        ]),
  ]
}
