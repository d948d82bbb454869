/**
 * Samples of several runs side by side, their tokens coloured by probability or by the objective's
 * weight.
 */
import { escapeHtml } from "./charts.ts"
import type { RunSummary } from "./run-summary.ts"
import { rewardText, type Sample, sampleRows, tokenWeights } from "./sample-rows.ts"

export function sampleSection(
  runs: readonly RunSummary[],
  swatch: (index: number) => string,
): string {
  const { rows, left } = sampleRows(runs)
  if (rows.length === 0) return ""
  const shown = rows.map(({ prompt, cells, reference }) => {
    const sides = cells.map((cell, index) => {
      const run = runs[index]!
      if (run.samples.length === 0) return ""
      const name = `<h4>${swatch(index)}${escapeHtml(run.name)}</h4>`
      if (cell === null) return `<div>${name}<p>–</p></div>`
      const { first, last, beside } = cell
      const earlier = first
        ? `<small>step ${first.step}</small>${rewarded(first)}${sampleText(first, run)}`
        : ""
      const others = beside.map((one) => `${rewarded(one)}${sampleText(one, run)}`).join("")
      return `<div>${name}${earlier}<small>step ${last.step}</small>${rewarded(last)}${sampleText(last, run)}${others}</div>`
    })
    const right =
      reference === undefined
        ? ""
        : `<div><h4>the row's answer</h4><pre>${escapeHtml(reference)}</pre></div>`
    return `<article><pre class="prompt">${escapeHtml(prompt)}</pre><div class="side">${sides.join("")}${right}</div></article>`
  })
  const more = left > 0 ? `<p class="note">${left} more prompts are in samples.jsonl.</p>` : ""
  return `<section class="samples"><h2>Samples</h2>
<input type="radio" name="shade" id="by-probability" checked><label for="by-probability">probability</label>
<input type="radio" name="shade" id="by-weight"><label for="by-weight">weight under the run's objective</label>
<input type="radio" name="shade" id="by-nothing"><label for="by-nothing">plain</label>
<span class="scale"><i></i>0 to 1</span>${shown.join("")}${more}</section>`
}

function rewarded(sample: Sample): string {
  const words = rewardText(sample)
  return words === "" ? "" : ` <small>${words}</small>`
}

function sampleText(
  { tokens = [], probabilities = [], completion }: Sample,
  run: RunSummary,
): string {
  if (tokens.length === 0 || tokens.length !== probabilities.length) {
    return `<pre>${escapeHtml(completion)}</pre>`
  }
  const weights = tokenWeights(probabilities, run)
  const spans = tokens.map((token, t) => {
    const p = probabilities[t] ?? Number.NaN // JSON says null of what is no number
    const weight = weights?.[t]
    const more = weight === undefined ? "" : `, weight ${weight.toPrecision(3)}`
    const style = `--p:${shade(p)};--w:${shade(weight ?? 0)}`
    return `<span style="${style}" title="p ${p.toPrecision(3)}${more}">${escapeHtml(token)}</span>`
  })
  return `<pre class="tokens${weights === undefined ? " unweighted" : ""}">${spans.join("")}</pre>`
}

function shade(value: number): string {
  return Math.min(1, Math.max(0, value)).toFixed(3)
}
