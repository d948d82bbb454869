import type { Command } from "commander"
import { InputError } from "../errors.ts"
import { compareEvaluations, isEvaluation } from "../evaluate/compare-evaluations.ts"
import { comparisonTable as evaluationsTable } from "../evaluate/report.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import { checkPage } from "../host/output-place.ts"
import { differingSettings } from "../report/differing-settings.ts"
import { courseText, evalCourse, type RunFigures } from "../report/run-figures.ts"
import { reportHtml } from "../report/run-page.ts"
import { type RunSummary, runFigures, summarizeRuns } from "../report/run-summary.ts"
import { textTable } from "../report/text-table.ts"
import { shortBytes, shortCount, shortDuration } from "../report/units.ts"
import { readRun } from "../run/run-folder.ts"
import { print, printJson, say, sayWarning } from "./shell/terminal.ts"

export function command(verb: Command): void {
  verb
    .argument("<run...>", "run folders, or folders of dftune eval")
    .option("--html <file>", "write curves, histograms, samples and settings as one page")
    .option("--json", "print one JSON document")
    .action(async (paths: string[], { html, json }: { html?: string; json?: boolean }) => {
      if (html !== undefined) checkPage(html)
      if (paths.some(isEvaluation)) return printEvaluations(paths, { html, json })
      const runs = summarizeRuns(paths.map(readRun))
      for (const { path, badLines } of runs) {
        if (badLines.length === 0) continue
        const message = `${path}/events.jsonl: ${badLines.length} lines are no events, the first is line ${badLines[0]}`
        sayWarning("bad-events", message, "they are left out of the comparison")
      }
      if (html !== undefined) await writeFileAtomic(html, reportHtml(runs))
      if (json) printJson(comparison(runs))
      else print(comparisonTable(runs))
      if (html !== undefined) say(`wrote ${html}`)
    })
}

/** Evaluations side by side: which differences exceed noise. */
async function printEvaluations(
  paths: readonly string[],
  { html, json }: { html?: string | undefined; json?: boolean | undefined },
): Promise<void> {
  const runs = paths.filter((path) => !isEvaluation(path))
  if (runs.length > 0) {
    throw new InputError(`${runs[0]}: expected a folder of dftune eval, as the others are`)
  }
  if (html !== undefined) {
    throw new InputError("--html: evaluations have a report.html each; compare prints a table")
  }
  const comparisons = await compareEvaluations(paths)
  if (json) printJson({ comparisons })
  else {
    for (const { a, b, suites } of comparisons) {
      print(`a: ${a}\nb: ${b}\n${evaluationsTable(suites)}`)
    }
  }
}

/** What `--json` prints: figures of each run, the settings that differ, and the curves by column. */
export function comparison(runs: readonly RunSummary[]) {
  return {
    runs: runs.map((run) => ({
      ...runFigures(run),
      path: run.path,
      warnings: run.warnings.map(({ step, code, message }) => ({ step, code, message })),
      curves: Object.fromEntries(
        CURVE_FIELDS.map((field) => [field, run.steps.map((event) => event[field] ?? null)]),
      ),
      histograms: run.histograms.map(({ name, step, bins, small_bins }) => {
        return { name, step, bins, small_bins }
      }),
    })),
    settings: Object.fromEntries(
      differingSettings(runs).map(({ key, values }) => {
        return [key, values.map((value) => (value === undefined ? null : JSON.parse(value)))]
      }),
    ),
  }
}

const CURVE_FIELDS = [
  "step",
  "loss",
  "nll",
  "mean_p",
  "mean_weight",
  "effective_tokens",
  "entropy",
  "token_accuracy",
  "eos_p",
  "grad_norm",
  "learning_rate",
  "reward_margin",
  "reward_accuracy",
] as const

const COLUMNS: readonly (readonly [title: string, cell: (figures: RunFigures) => string])[] = [
  ["run", (f) => f.run],
  ["objective", (f) => f.objective],
  ["state", (f) => f.state],
  ["steps", (f) => `${f.steps}/${f.planned_steps}`],
  ["loss", (f) => courseText(f.course.loss)],
  ["nll", (f) => courseText(f.course.nll)],
  ["p", (f) => courseText(f.course.mean_p)],
  ["eos p", (f) => courseText(f.course.eos_p)],
  ["tok/s", (f) => (f.tokens_per_second === null ? "–" : shortCount(f.tokens_per_second))],
  ["memory", (f) => (f.memory_bytes === null ? "–" : shortBytes(f.memory_bytes))],
  ["time", (f) => (f.seconds === null ? "–" : shortDuration(f.seconds))],
]

/** The table of a comparison as text: figures, then evaluations, then the settings that differ. */
export function comparisonTable(runs: readonly RunSummary[]): string {
  const figures = runs.map(runFigures)
  const blocks = [
    [
      COLUMNS.map(([title]) => title),
      ...figures.map((f) => COLUMNS.map(([, cell]) => shortened(cell(f)))),
    ],
  ]
  const names = runs.map(({ name }) => name)
  const sets = [...new Set(figures.flatMap(({ evals }) => Object.keys(evals)))]
  if (sets.length > 0) {
    const rows = sets.map((set) => [set, ...figures.map((f) => evalCourse(f, set))])
    blocks.push([["evaluation", ...names], ...rows])
  }
  const settings = differingSettings(runs)
  if (runs.length > 1 && settings.length > 0) {
    const rows = settings.map(({ key, values }) => [key, ...values.map((value) => value ?? "–")])
    blocks.push([["setting", ...names], ...rows])
  }
  return blocks.map(aligned).join("\n\n")
}

/** A cell's characters in a terminal; the page and the JSON have the whole of it. */
const CELL = 32

/** The ends of a long text: paths and names differ there. */
function shortened(text: string): string {
  if (text.length <= CELL) return text
  const half = (CELL - 1) / 2
  return `${text.slice(0, Math.floor(half))}…${text.slice(text.length - Math.ceil(half))}`
}

/** Whole where short texts would hide what tells the long ones apart. */
function shortenedRow(values: readonly string[]): readonly string[] {
  const short = values.map(shortened)
  return new Set(short).size === new Set(values).size ? short : values
}

function aligned(cells: readonly (readonly string[])[]): string {
  return textTable(cells.map(([key, ...values]) => [key!, ...shortenedRow(values)]))
}
