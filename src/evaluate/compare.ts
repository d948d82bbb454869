/** What `dftune compare` compares: runs, or evaluations. */
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import { checkPage } from "../host/output-place.ts"
import type { Told } from "../host/told.ts"
import { comparison, type RunsComparison } from "../report/comparison.ts"
import { reportHtml } from "../report/run-page.ts"
import { type RunSummary, summarizeRuns } from "../report/run-summary.ts"
import { readRun } from "../run/run-folder.ts"
import {
  compareEvaluations,
  type EvaluationComparison,
  isEvaluation,
} from "./compare-evaluations.ts"

export interface EvaluationsComparison {
  /** Each evaluation against the first. */
  readonly comparisons: readonly EvaluationComparison[]
}

export interface CompareOptions extends Pick<Told, "onWarning"> {
  /** Of runs: a page to write, with curves, histograms, samples and settings. */
  readonly html?: string | undefined
}

/**
 * Folders of runs side by side, or of evaluations (`evaluate`): figures, curves and settings, or
 * which differences exceed noise. What `dftune compare --json` prints.
 *
 * @throws InputError for a folder that holds neither, or both kinds together
 */
export async function compare(
  paths: readonly string[],
  options: CompareOptions = {},
): Promise<RunsComparison | EvaluationsComparison> {
  if (paths.some(isEvaluation)) return { comparisons: await comparedEvaluations(paths, options) }
  return comparison(await comparedRuns(paths, options))
}

/** The runs that are compared, whole, and their page where one is wanted. */
export async function comparedRuns(
  paths: readonly string[],
  { html, onWarning }: CompareOptions,
): Promise<RunSummary[]> {
  if (html !== undefined) checkPage(html)
  const runs = summarizeRuns(paths.map(readRun))
  for (const { path, badLines } of runs) {
    if (badLines.length === 0) continue
    onWarning?.({
      code: "bad-events",
      message: `${path}/events.jsonl: ${badLines.length} lines are no events, the first is line ${badLines[0]}`,
      hint: "they are left out of the comparison",
    })
  }
  if (html !== undefined) await writeFileAtomic(html, reportHtml(runs))
  return runs
}

/** Evaluations side by side: which differences exceed noise. */
export async function comparedEvaluations(
  paths: readonly string[],
  { html }: CompareOptions,
): Promise<EvaluationComparison[]> {
  const runs = paths.filter((path) => !isEvaluation(path))
  if (runs.length > 0) {
    throw new InputError(`${runs[0]}: expected a folder of dftune eval, as the others are`)
  }
  if (html !== undefined) {
    throw new InputError("--html: evaluations have a report.html each; compare prints a table")
  }
  return compareEvaluations(paths)
}
