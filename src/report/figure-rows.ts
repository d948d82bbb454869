/**
 * The table of figures: what each row says and means, for the page and the report. Runs in a
 * browser too.
 */
import { courseText, evalCourse, type RunFigures } from "./run-figures.ts"
import { shortBytes, shortCount, shortDuration, shortNumber } from "./units.ts"

export interface FigureRow {
  readonly label: string
  readonly meaning: string
  /** One a run. */
  readonly cells: readonly string[]
}

export const FIGURES_NOTE =
  "Training figures are means over the first and the last tenth of the steps, with the standard error of the latter. A falling DFT loss proves nothing by itself: read it beside NLL and mean p."

type Cell = (figures: RunFigures) => string

const ROWS: readonly (readonly [label: string, meaning: string, cell: Cell])[] = [
  ["state", "", (f) => f.state],
  ["steps", "done of planned", (f) => `${f.steps} / ${f.planned_steps}`],
  ["loss", "the objective's; not comparable between objectives", (f) => courseText(f.course.loss)],
  ["NLL", "mean cross-entropy, comparable between objectives", (f) => courseText(f.course.nll)],
  ["mean p", "mean probability of the targets", (f) => courseText(f.course.mean_p)],
  ["reward", "of the samples, mean", (f) => (f.reward ? courseText(f.reward) : "–")],
  ["effective tokens", "share of tokens that the weights leave", (f) => percent(f.effective_share)],
  ["entropy", "mean, nats", (f) => shortNumber(f.entropy)],
  ["end-of-turn p", "whether it will learn to stop", (f) => courseText(f.course.eos_p)],
  ["steps clipped", "gradient norm above max_grad_norm", (f) => percent(f.clipped_share)],
  [
    "tokens/s",
    "median",
    (f) => (f.tokens_per_second === null ? "–" : shortCount(f.tokens_per_second)),
  ],
  ["memory", "peak", (f) => (f.memory_bytes === null ? "–" : shortBytes(f.memory_bytes))],
  ["time", "first to last event", (f) => (f.seconds === null ? "–" : shortDuration(f.seconds))],
]

/** Rows of which some run has a value. */
export function figureRows(runs: readonly RunFigures[]): FigureRow[] {
  const own = ROWS.map(([label, meaning, cell]) => ({ label, meaning, cells: runs.map(cell) }))
  const sets = [...new Set(runs.flatMap(({ evals }) => Object.keys(evals)))]
  const evals = sets.map((set) => ({
    label: set,
    meaning: "first and last evaluation",
    cells: runs.map((figures) => evalCourse(figures, set)),
  }))
  return [...own, ...evals].filter(({ cells }) => cells.some((cell) => cell !== "–"))
}

function percent(share: number | null): string {
  return share === null ? "–" : `${(100 * share).toFixed(0)} %`
}
