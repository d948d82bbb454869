/** Runs side by side: the document of `compare --json`, and the same as a table. */
import { differingSettings } from "./differing-settings.ts"
import { courseText, evalCourse, type RunFigures } from "./run-figures.ts"
import { type RunSummary, runFigures } from "./run-summary.ts"
import { textTable } from "./text-table.ts"
import { shortBytes, shortCount, shortDuration } from "./units.ts"

/** Figures of each run, the settings that differ, and the curves by column. */
export type RunsComparison = ReturnType<typeof comparison>

/** See {@link RunsComparison}. */
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
  const tables = [
    aligned([
      COLUMNS.map(([title]) => title),
      ...figures.map((f) => COLUMNS.map(([, cell]) => shortened(cell(f)))),
    ]),
  ]
  const names = runs.map(({ name }) => name)
  const sets = [...new Set(figures.flatMap(({ evals }) => Object.keys(evals)))]
  if (sets.length > 0) {
    const rows = sets.map((set) => [set, ...figures.map((f) => evalCourse(f, set))])
    tables.push(textTable([["evaluation", ...names.map(shortened)], ...rows]))
  }
  const settings = differingSettings(runs)
  if (runs.length > 1 && settings.length > 0) {
    const rows = settings.map(({ key, values }) => [key, ...values.map((value) => value ?? "–")])
    tables.push(aligned([["setting", ...names], ...rows]))
  }
  return tables.join("\n\n")
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
