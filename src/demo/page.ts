/**
 * The demo's `report.html`: a run's report with what was asked, answered and measured before it.
 */

import { escapeHtml } from "../report/charts.ts"
import { reportHtml } from "../report/run-page.ts"
import { type RunSummary, summarizeRuns } from "../report/run-summary.ts"
import { readRun } from "../run/run-folder.ts"
import { NOISE } from "./data.ts"
import type { DemoResult, DemoSample } from "./experiment.ts"
import { temperatureText } from "./experiment.ts"
import { COLUMNS, tableRows } from "./table.ts"

/** The page over the first run of each objective on each task. */
export function demoPage(result: DemoResult, conclusions: readonly string[]): string {
  const shown = result.runs.filter(({ seed }) => seed === 1)
  const summaries = summarizeRuns(shown.map(({ path }) => readRun(path))).map((summary, i) => {
    const { task, objective } = shown[i]!
    return withSamples(
      { ...summary, name: `${objective.toUpperCase()}, ${task}` },
      result,
      shown[i]!,
    )
  })
  return reportHtml(summaries, {
    title: "dftune demo: SFT and DFT from one start",
    sections: [
      summarySection(result, conclusions),
      ...result.tasks.map((task) => tableSection(result, task)),
      verdictSection(result),
    ],
  })
}

/** The answers as sample events, so that the report colours their tokens. */
function withSamples(
  summary: RunSummary,
  { samples, settings }: DemoResult,
  { task, objective }: DemoResult["runs"][number],
): RunSummary {
  const own = samples.filter(
    (sample) => sample.task === task && sample.model === objective && sample.temperature === 1,
  )
  const step = settings.steps[task]
  return {
    ...summary,
    samples: own.map(({ prompt, completion, tokens, probabilities }) => ({
      type: "sample",
      time: "",
      step,
      prompt,
      completion,
      tokens,
      probabilities,
    })),
  }
}

function summarySection({ settings, seconds }: DemoResult, conclusions: readonly string[]): string {
  const items = conclusions.map((line) => `<li>${escapeHtml(line)}</li>`).join("")
  return `<section><h2>What happened</h2><ul>${items}</ul><p class="note">One small model (the bundled base), fine-tuned with both objectives from the same start on the same rows in the same order; ${settings.seeds === 1 ? "one fine-tuning seed" : `${settings.seeds} fine-tuning seeds`} on the noisy data (${Math.round(100 * NOISE)} % of its solutions have a wrong step), one on the facts; ${Math.round(seconds)} s in all. One base model says nothing of how other models fare. <b>T = 1</b> samples from the model as it is, as the paper does; <b>greedy</b> takes the likeliest token; <b>base T=½</b> is the base, not fine-tuned, with sharpened sampling: the control for what sharpening alone gives.</p></section>`
}

function tableSection(
  result: DemoResult,
  { name, about, sets }: DemoResult["tasks"][number],
): string {
  const head = ["", ...COLUMNS].map((column) => `<th>${escapeHtml(column)}</th>`).join("")
  const rows = tableRows(result, name).map(({ set, temperature, cells, exceedsNoise }) => {
    const meaning = sets.find((one) => one.name === set)!.about
    const label = `<th>${escapeHtml(set)}, ${temperatureText(temperature)} <small>${escapeHtml(meaning)}</small></th>`
    const values = cells.map((cell, i) => {
      const strong = exceedsNoise && i === cells.length - 1
      return `<td>${strong ? `<b>${escapeHtml(cell)}</b>` : escapeHtml(cell)}</td>`
    })
    return `<tr>${label}${values.join("")}</tr>`
  })
  return `<section><h2>${escapeHtml(name)}: percent right</h2><p class="note">${escapeHtml(about)}. ± is half of a 95 % bootstrap interval over problems; the difference is paired by problem, bold where its interval leaves zero out. With few seeds the intervals do not hold all that varies between runs.</p><div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${rows.join("")}</tbody></table></div></section>`
}

function verdictSection({ samples, tasks }: DemoResult): string {
  const articles = tasks.flatMap(({ name: task, sets }) =>
    sets.map(({ name: set }) => {
      const own = samples.filter((one) => one.task === task && one.set === set)
      const [first] = own
      if (first === undefined) return ""
      const same = own.filter(({ prompt }) => prompt === first.prompt)
      return `<article><pre class="prompt">${escapeHtml(first.prompt)}  (${escapeHtml(first.answer)})</pre><div class="side">${same.map(answer).join("")}</div></article>`
    }),
  )
  return `<section><h2>Answers and verdicts</h2>${articles.join("")}</section>`
}

function answer({ model, temperature, completion, correct }: DemoSample): string {
  const who = `${model === "base" ? "base" : model.toUpperCase()}, ${temperatureText(temperature)}`
  return `<div><h4>${who}: ${correct ? "✓ right" : "✗ wrong"}</h4><pre>${escapeHtml(completion)}</pre></div>`
}
