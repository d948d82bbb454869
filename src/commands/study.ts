import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Command } from "commander"
import { InputError } from "../errors.ts"
import { openSuite } from "../evaluate/index.ts"
import { smallestDifference } from "../evaluate/smallest-difference.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import { shortDuration } from "../report/units.ts"
import { analyse } from "../study/analysis.ts"
import { loadStudy, type Study } from "../study/load-study.ts"
import { runStudy } from "../study/run-study.ts"
import { readStudyEvents } from "../study/study-events.ts"
import { studyHtml, studyMarkdown } from "../study/study-report.ts"
import { writeStudyJobs } from "../study/study-slurm.ts"
import { studyTime } from "../study/study-time.ts"
import { interruptible } from "./shell/interrupt.ts"
import { outliveReaders } from "./shell/output.ts"
import { print, printJson, progressLine, say } from "./shell/terminal.ts"

interface Options {
  readonly plan?: boolean
  readonly time?: boolean
  readonly cells?: string[]
  readonly retry?: boolean
  readonly slurm?: boolean
  readonly report?: boolean
  readonly json?: boolean
}

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
      const { json = false } = options
      if (path.endsWith(".jsonl")) {
        await show(path, json)
        return
      }
      const study = await loadStudy(path)
      if (options.time && !options.plan)
        throw new InputError("--time: belongs to --plan; add --plan")
      if (options.plan) return showPlan(study, options)
      if (options.slurm) return writeJobs(study)
      outliveReaders()
      if (!options.report) await run(study, options)
      // the jobs of an array end at different times; the last of them makes the report
      if (options.cells === undefined) await report(study, json)
    })
}

async function run(study: Study, { cells, retry = false }: Options): Promise<void> {
  const line = progressLine()
  const shown = { onProgress: line.show, onCell: say }
  await interruptible(
    (signal) => runStudy(study, { signal, retry, ...(cells ? { cells } : {}), ...shown }),
    { stopping: "stopping; run again to go on" },
  )
  line.clear()
}

async function report(study: Study, json: boolean): Promise<void> {
  const { markdown, html } = await show(study.folder, json)
  await writeFileAtomic(join(study.folder, "report.md"), markdown)
  await writeFileAtomic(join(study.folder, "report.html"), html)
  say(`wrote ${join(study.folder, "report.md")} and report.html`)
}

async function writeJobs(study: Study): Promise<void> {
  const program = [process.execPath, ...process.execArgv, process.argv[1]!]
  const path = await writeStudyJobs(study, program)
  say("written; submit them with bash")
  print(path)
}

async function show(place: string, json: boolean) {
  if (!existsSync(place)) throw new InputError(`${place}: no such file or folder`)
  const result = analyse(await readStudyEvents(place))
  const markdown = studyMarkdown(result)
  if (json) printJson(result)
  else print(markdown)
  return { markdown, html: studyHtml(result) }
}

async function showPlan(study: Study, { json = false, time = false }: Options): Promise<void> {
  const { design, fields } = study
  const { score, spread, problem_effect, seed_effect } = fields.assume
  const assumed = { score, spread, problemEffect: problem_effect, seedEffect: seed_effect }
  const evaluations = await Promise.all(
    fields.evaluations.map(async ({ name, suite, suite_dir, limit, n }) => {
      const problems = (await openSuite(suite, { folder: suite_dir, limit })).problems.length
      const contrasts = Math.max(design.contrasts.length, 1)
      const sizes = { problems, seeds: design.seeds.length, n, contrasts }
      return { name, ...sizes, smallest_difference: smallestDifference(assumed, sizes) }
    }),
  )
  const runs = design.cells.map(({ id }) => id)
  const line = progressLine()
  const timed = time
    ? await interruptible((signal) => studyTime(study, { signal, onProgress: line.show }))
    : undefined
  line.clear()
  if (json) {
    const { contrasts } = design
    return printJson({ runs, contrasts, assume: fields.assume, evaluations, seconds: timed })
  }
  print(`${runs.length} models are asked: ${runs.join(", ")}`)
  for (const { name } of design.contrasts) print(`contrast: ${name}`)
  for (const one of evaluations) {
    print(
      `${one.name}: ${one.problems} problems, ${one.n} samples, ${one.seeds} seeds: a difference of ${(100 * one.smallest_difference).toFixed(1)} points is found in about 80 of 100 such studies`,
    )
  }
  if (timed === undefined) return
  for (const [arm, seconds] of Object.entries(timed.training))
    print(`training ${arm}: ${shortDuration(seconds)}`)
  print(`asking: about ${shortDuration(timed.asking)}`)
  print(`in all, here and one after another: about ${shortDuration(timed.total)}`)
}
