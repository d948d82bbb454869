import { rowsOf } from "../data/row-objects.ts"
import { textTable } from "../report/text-table.ts"
import { embeddedJson, sourceHash } from "../report/view-files.ts"
import type { SuiteResult } from "./evaluation.ts"
import { type EvaluationRecord, recordsPath } from "./records.ts"
import { SCRIPT, STYLE } from "./report-page.ts"
import type { Difference } from "./statistics.ts"

const percent = (share: number): string => (100 * share).toFixed(2)

/** Rows of text in columns, the first to the left and numbers to the right. */
export const cells = (rows: readonly (readonly string[])[]): string =>
  textTable(rows, { align: "right" })

interface Column {
  readonly title: string
  readonly cell: (result: SuiteResult) => string
  /** Whether a result has something to say there; a column that none needs is left out. */
  readonly needed?: (result: SuiteResult) => boolean
}

const several = ({ n }: SuiteResult): boolean => n > 1

const COLUMNS: readonly Column[] = [
  { title: "suite", cell: ({ suite }) => suite },
  { title: "problems", cell: ({ problems }) => String(problems) },
  { title: "n", cell: ({ n }) => String(n), needed: several },
  { title: "avg@n %", cell: ({ score }) => percent(score) },
  { title: "95 %", cell: ({ ci95: [low, high] }) => `${percent(low)}-${percent(high)}` },
  { title: "pass@n", cell: ({ pass_at, n }) => percent(pass_at[String(n)]!), needed: several },
  { title: "maj@n", cell: ({ majority }) => percent(majority), needed: several },
  {
    title: "strict",
    cell: ({ strict }) => percent(strict),
    needed: ({ mode }) => mode !== "strict",
  },
  {
    title: "lenient",
    cell: ({ lenient }) => percent(lenient),
    needed: ({ mode }) => mode !== "lenient",
  },
  {
    title: "paper %",
    cell: (r) => r.paper_score.toFixed(2),
    needed: ({ mode }) => mode === "paper",
  },
  { title: "no answer", cell: ({ no_answer }) => String(no_answer) },
  {
    title: "undecided",
    cell: ({ undecided }) => String(undecided),
    needed: ({ undecided }) => undecided > 0,
  },
  {
    title: "no completion",
    cell: ({ without_completion }) => String(without_completion),
    needed: ({ without_completion }) => without_completion > 0,
  },
  { title: "cut off", cell: ({ finish_reasons }) => String(finish_reasons.length ?? 0) },
  {
    title: "tokens",
    cell: ({ mean_tokens }) => (mean_tokens === null ? "-" : mean_tokens.toFixed(0)),
    needed: ({ mean_tokens }) => mean_tokens !== null,
  },
  {
    title: "tok/s",
    cell: ({ tokens_per_second: rate }) => (rate === null ? "-" : rate.toFixed(1)),
    needed: ({ tokens_per_second }) => tokens_per_second !== null,
  },
]

const columnsFor = (results: readonly SuiteResult[]): readonly Column[] =>
  COLUMNS.filter(({ needed }) => needed === undefined || results.some(needed))

/** A line per suite, with the columns that have something to say. */
export function resultTable(results: readonly SuiteResult[]): string {
  const columns = columnsFor(results)
  return cells([
    columns.map(({ title }) => title),
    ...results.map((result) => columns.map(({ cell }) => cell(result))),
  ])
}

export interface ComparedSuite extends Difference {
  readonly suite: string
  readonly a: number
  readonly b: number
}

export function comparisonTable(rows: readonly ComparedSuite[]): string {
  return cells([
    ["suite", "problems", "a %", "b %", "b - a", "95 %", "p", "beyond noise"],
    ...rows.map(({ suite, problems, a, b, difference, ci95, p, exceedsNoise }) => [
      suite,
      String(problems),
      percent(a),
      percent(b),
      percent(difference),
      `${percent(ci95[0])} to ${percent(ci95[1])}`,
      p.toFixed(3),
      exceedsNoise ? "yes" : "no",
    ]),
  ])
}

/** Samples a page shows; a larger evaluation's page names the records file for the rest. */
const MAX_SAMPLES = 4_000
const MAX_TEXT = 6_000

/**
 * One page that opens offline: scores, and every problem with its samples, verdicts and reasons.
 */
export async function evaluationHtml(
  folder: string,
  results: readonly SuiteResult[],
): Promise<string> {
  const problems: unknown[] = []
  let samples = 0
  let left = 0
  for (const { suite } of results) {
    const groups = new Map<string, EvaluationRecord[]>()
    for await (const { row } of rowsOf(recordsPath(folder, suite))) {
      if (samples >= MAX_SAMPLES) {
        left++
        continue
      }
      samples++
      const record = row as EvaluationRecord
      const group = groups.get(record.id)
      if (group) group.push(record)
      else groups.set(record.id, [record])
    }
    for (const [id, group] of groups) problems.push(problemData(suite, id, group))
  }
  const columns = columnsFor(results)
  const figures = results.map(
    (result) =>
      `<tr>${columns.map(({ cell }) => `<td>${escaped(cell(result))}</td>`).join("")}</tr>`,
  )
  const more =
    left === 0 ? "" : `<p class="dim">${left} further samples are in the records (SUITE.jsonl).</p>`
  const first = results[0]
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="generator" content="dftune"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src ${sourceHash(SCRIPT)}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<title>Evaluation of ${escaped(first?.model ?? "")}</title><style>${STYLE}</style></head><body>
<h1>Evaluation of ${escaped(first?.model ?? "")}</h1>
<p class="dim">grader ${escaped(first?.mode ?? "")}, version ${escaped(first?.grader_version ?? "")}; temperature ${first?.settings.temperature}, at most ${first?.settings.max_new_tokens} new tokens, prompts: ${escaped(String(first?.settings.prompt ?? ""))}. Intervals are over problems.</p>
<div class="scroll"><table><thead><tr>${columns.map(({ title }) => `<th>${title}</th>`).join("")}</tr></thead><tbody>${figures.join("")}</tbody></table></div>
${more}
<div class="bar"><span id="filters"></span><input id="search" type="search" placeholder="search problems and samples" aria-label="search"><span id="count" class="dim"></span></div>
<div id="list"></div>
<script type="application/json" id="data">${embeddedJson(problems)}</script>
<script>${SCRIPT}</script></body></html>
`
}

function problemData(suite: string, id: string, group: readonly EvaluationRecord[]) {
  return {
    suite,
    id,
    problem: cut(group[0]!.problem),
    gold: group[0]!.gold,
    samples: group.map((record) => ({
      text: cut(record.completion),
      correct: record.correct,
      decided: record.decided,
      extracted: record.extracted,
      found: record.found,
      reason: record.reason,
      strict: record.strict,
      lenient: record.lenient,
      finish: record.finish_reason,
      seed: record.seed,
    })),
  }
}

const cut = (text: string): string =>
  text.length <= MAX_TEXT
    ? text
    : `${text.slice(0, MAX_TEXT / 2)}\n[...]\n${text.slice(-MAX_TEXT / 2)}`

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]!)
