/** Samples of several runs side by side, their tokens coloured by probability or by the objective's weight. */

import type { ObjectiveSettings } from "../objectives/index.ts"
import { definitionOf, objectiveFromConfig, weightsAt } from "../objectives/index.ts"
import type { SampleEvent } from "../run/events.ts"
import { escapeHtml } from "./charts.ts"
import type { RunSummary } from "./run-summary.ts"
import { shortNumber } from "./units.ts"

/** More prompts than this are left out, and said to be: a page must stay readable. */
const MAX_PROMPTS = 50

export function sampleSection(
  runs: readonly RunSummary[],
  swatch: (index: number) => string,
): string {
  const prompts = [...new Set(runs.flatMap(({ samples }) => samples.map(({ prompt }) => prompt)))]
  if (prompts.length === 0) return ""
  const shown = prompts.slice(0, MAX_PROMPTS).map((prompt) => {
    const cells = runs.map((run, index) => {
      if (run.samples.length === 0) return ""
      const own = run.samples.filter((sample) => sample.prompt === prompt)
      const last = own.at(-1)
      const first = own[0]
      const name = `<h4>${swatch(index)}${escapeHtml(run.name)}</h4>`
      if (last === undefined || first === undefined) return `<div>${name}<p>–</p></div>`
      const earlier =
        first === last ? "" : `<small>step ${first.step}</small>${sampleText(first, run)}`
      const others = own.filter((one) => one !== last && one.step === last.step)
      const beside = others.map((one) => `${rewardText(one)}${sampleText(one, run)}`).join("")
      return `<div>${name}${earlier}<small>step ${last.step}</small>${rewardText(last)}${sampleText(last, run)}${beside}</div>`
    })
    const reference = runs
      .flatMap(({ samples }) => samples)
      .find((sample) => sample.prompt === prompt && sample.reference !== undefined)?.reference
    const right =
      reference === undefined
        ? ""
        : `<div><h4>the row's answer</h4><pre>${escapeHtml(reference)}</pre></div>`
    return `<article><pre class="prompt">${escapeHtml(prompt)}</pre><div class="side">${cells.join("")}${right}</div></article>`
  })
  const left = prompts.length - shown.length
  const more = left > 0 ? `<p class="note">${left} more prompts are in samples.jsonl.</p>` : ""
  return `<section class="samples"><h2>Samples</h2>
<input type="radio" name="shade" id="by-probability" checked><label for="by-probability">probability</label>
<input type="radio" name="shade" id="by-weight"><label for="by-weight">weight under the run's objective</label>
<input type="radio" name="shade" id="by-nothing"><label for="by-nothing">plain</label>
<span class="scale"><i></i>0 to 1</span>${shown.join("")}${more}</section>`
}

/** What a rollout's sample was rewarded. */
function rewardText({ reward, advantage, finish_reason }: SampleEvent): string {
  if (reward === undefined) return ""
  const parts = [
    `reward ${reward === null ? "none" : shortNumber(reward)}`,
    ...(advantage === undefined ? [] : [`advantage ${shortNumber(advantage)}`]),
    ...(finish_reason === "length" ? ["cut at the limit"] : []),
  ]
  return ` <small>${parts.join(", ")}</small>`
}

function sampleText({ tokens, probabilities, completion }: SampleEvent, run: RunSummary): string {
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

/**
 * The weights that the run's objective would give these tokens as targets; undefined where they depend on
 * more than the probability (entropy, a reference), which a sample does not record.
 */
export function tokenWeights(
  probabilities: readonly number[],
  { config }: Pick<RunSummary, "config">,
): number[] | undefined {
  const settings = config.objective as ObjectiveSettings | undefined
  // A run of another version may name an objective that this one does not know.
  const known = settings?.expression !== undefined || definitionOf(settings?.name ?? "")
  if (settings === undefined || !known) return undefined
  return weightsAt(objectiveFromConfig(settings), probabilities, { tokenClass: 0, progress: 1 })
}
