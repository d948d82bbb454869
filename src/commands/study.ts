import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Command } from "commander"
import { InputError } from "../errors.ts"
import { openSuite } from "../evaluate/index.ts"
import { smallestDifference } from "../evaluate/smallest-difference.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import { analyse } from "../study/analysis.ts"
import { loadStudy, type Study } from "../study/load-study.ts"
import { runStudy } from "../study/run-study.ts"
import { readStudyEvents } from "../study/study-events.ts"
import { studyHtml, studyMarkdown } from "../study/study-report.ts"
import { interruptible } from "./shell/interrupt.ts"
import { outliveReaders } from "./shell/output.ts"
import { print, printJson, progressLine, say } from "./shell/terminal.ts"

interface Options {
  readonly plan?: boolean
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("<study>", "STUDY.yaml, or a file of a study's events")
    .option("--plan", "print the runs and how small a difference they can show; run nothing")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nAn interrupted study goes on when the same command is run again.")
    .action(async (path: string, { plan = false, json = false }: Options) => {
      if (path.endsWith(".jsonl")) {
        await show(path, json)
        return
      }
      const study = await loadStudy(path)
      if (plan) return showPlan(study, json)
      outliveReaders()
      const line = progressLine()
      await interruptible(
        (signal) => runStudy(study, { signal, onProgress: line.show, onCell: say }),
        { stopping: "stopping; run again to go on" },
      )
      line.clear()
      const { markdown, html } = await show(study.folder, json)
      await writeFileAtomic(join(study.folder, "report.md"), markdown)
      await writeFileAtomic(join(study.folder, "report.html"), html)
      say(`wrote ${join(study.folder, "report.md")} and report.html`)
    })
}

async function show(place: string, json: boolean) {
  if (!existsSync(place)) throw new InputError(`${place}: no such file or folder`)
  const result = analyse(await readStudyEvents(place))
  const markdown = studyMarkdown(result)
  if (json) printJson(result)
  else print(markdown)
  return { markdown, html: studyHtml(result) }
}

async function showPlan({ design, fields }: Study, json: boolean): Promise<void> {
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
  if (json)
    return printJson({ runs, contrasts: design.contrasts, assume: fields.assume, evaluations })
  print(`${runs.length} models are asked: ${runs.join(", ")}`)
  for (const { name } of design.contrasts) print(`contrast: ${name}`)
  for (const one of evaluations) {
    print(
      `${one.name}: ${one.problems} problems, ${one.n} samples, ${one.seeds} seeds: a difference of ${(100 * one.smallest_difference).toFixed(1)} points is found in about 80 of 100 such studies`,
    )
  }
}
