/**
 * `report.html`: one or several runs on one page that opens offline, with nothing fetched. It says
 * everything without scripts; with them the page of runs' own components draw the same data.
 */
import type { HistogramEvent } from "../run/events.ts"
import { escapeHtml, histogramChart, lineChart, paperBins } from "./charts.ts"
import { type Columns, rolloutColumns, stepColumns } from "./columns.ts"
import { differingSettings } from "./differing-settings.ts"
import { FIGURES_NOTE, figureRows } from "./figure-rows.ts"
import { frozenRun } from "./freeze-run.ts"
import { drawnColumns, type Measure, rolloutMeasures, stepMeasures } from "./measures.ts"
import { type RunSummary, runFigures } from "./run-summary.ts"
import { sampleSection } from "./samples-section.ts"
import { REPORT_STYLE } from "./style.ts"
import { precisionText, shortCount } from "./units.ts"
import { builtView, embeddedJson, type ReportView, sourceHash } from "./view-files.ts"

/** Told apart by people with any colour vision (Okabe and Ito); runs beyond them share colours. */
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a"]
const BEFORE = "#9a9a9a"

const colorOf = (index: number): string => COLORS[index % COLORS.length]!

/** What a page may have beside its runs. */
export interface ReportExtras {
  readonly title?: string
  /** Sections that come first, as HTML whose text is escaped already (`escapeHtml`). */
  readonly sections?: readonly string[]
  /** The page's components; null for a page without scripts. */
  readonly view?: ReportView | null
}

/** The page. The same runs always give the same bytes. */
export function reportHtml(runs: readonly RunSummary[], extras: ReportExtras = {}): string {
  const names = runs.map(({ name }) => name).join(" · ")
  const { title = names, view = builtView() } = extras
  const own = [
    figuresSection(runs),
    warningsSection(runs),
    curvesSection(runs),
    histogramSection(runs),
    sampleSection(runs, swatch),
    settingsSection(runs),
  ]
  const { policy, head, foot } = runs.length > 0 && view ? scripted(runs, view) : UNSCRIPTED
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="generator" content="dftune">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; ${policy}style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'">
<title>${escapeHtml(title)} · dftune</title>
<style id="still">${REPORT_STYLE}</style>${head}
</head>
<body>
<header><h1>${escapeHtml(title)}</h1>${runs.map(headline).join("")}</header>
<main>${(extras.sections ?? []).join("\n")}
<div id="runs">${own.join("\n")}</div></main>${foot}
</body>
</html>
`
}

const UNSCRIPTED = { policy: "", head: "", foot: "" }

/** The script that may run is named by its hash, so that no other can. */
function scripted(runs: readonly RunSummary[], { script, style }: ReportView) {
  return {
    policy: `script-src ${sourceHash(script)}; `,
    head: `<style id="moving" media="not all">${style}</style>`,
    foot: `
<script type="application/json" id="data">${embeddedJson(runs.map(frozenRun))}</script>
<script>${script}</script>`,
  }
}

const swatch = (index: number) => `<i class="swatch" style="background:${colorOf(index)}"></i>`

function headline({ name, start, path }: RunSummary, index: number): string {
  const color = swatch(index)
  if (start === undefined) return `<p>${color}<b>${escapeHtml(name)}</b> ${escapeHtml(path)}</p>`
  const { objective, engine, device, dtype, parameters, normalization } = start
  const trained =
    parameters.trained === parameters.total
      ? shortCount(parameters.total)
      : `${shortCount(parameters.trained)} of ${shortCount(parameters.total)}`
  return `<p>${color}<b>${escapeHtml(name)}</b> ${escapeHtml(objective)} on ${escapeHtml(engine)}${escapeHtml(precisionText(dtype))} (${escapeHtml(device)}), ${trained} parameters; loss: ${escapeHtml(normalization)}</p>`
}

function figuresSection(runs: readonly RunSummary[]): string {
  if (runs.length === 0) return ""
  const rows = figureRows(runs.map(runFigures)).map(({ label, meaning, cells }) => {
    const values = cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join("")
    return `<tr><th>${escapeHtml(label)} <small>${meaning}</small></th>${values}</tr>`
  })
  return `<section><h2>Figures</h2><p class="note">${FIGURES_NOTE}</p><div class="wide"><table>${headerRow(runs)}<tbody>${rows.join("")}</tbody></table></div></section>`
}

function headerRow(runs: readonly RunSummary[]): string {
  const names = runs.map(({ name }, index) => {
    return `<th>${swatch(index)}${escapeHtml(name)}</th>`
  })
  return `<thead><tr><th></th>${names.join("")}</tr></thead>`
}

function warningsSection(runs: readonly RunSummary[]): string {
  const items = runs.flatMap(({ name, warnings, badLines }) => [
    ...warnings.map(({ step, code, message, hint }) => {
      return `<li><b>${escapeHtml(name)}</b>, step ${step}: ${escapeHtml(message)} <small>${escapeHtml(code)}</small><br>${escapeHtml(hint)}</li>`
    }),
    ...(badLines.length === 0
      ? []
      : [
          `<li><b>${escapeHtml(name)}</b>: events.jsonl has ${badLines.length} unreadable lines, the first is line ${badLines[0]}</li>`,
        ]),
  ])
  return items.length === 0
    ? ""
    : `<section><h2>Warnings</h2><ul class="warnings">${items.join("")}</ul></section>`
}

interface Drawn {
  readonly name: string
  readonly columns: Columns
}

/** A chart for each line of a measure, in which each run has a colour. */
function measureCharts({ title, columns: lines, log }: Measure, runs: readonly Drawn[]): string[] {
  return lines.map(([column, label]) => {
    const series = runs.map(({ name, columns }, index) => {
      const steps = columns.get("step") ?? []
      const values = columns.get(column) ?? []
      const points = steps.map((step, i) => [step, values[i] ?? Number.NaN] as const)
      return { name, color: colorOf(index), points }
    })
    const told = lines.length === 1 ? title : `${title}: ${label}`
    return lineChart(told, series, { log: log ?? false })
  })
}

/** The measures of all runs, each once. */
function allMeasures(
  runs: readonly Drawn[],
  measuresOf: (columns: Columns) => readonly Measure[],
): Measure[] {
  const found = new Map<string, Measure>()
  for (const measure of runs.flatMap(({ columns }) => measuresOf(columns))) {
    const before = found.get(measure.title)
    if (!before || before.columns.length < measure.columns.length) found.set(measure.title, measure)
  }
  return [...found.values()]
}

const EVALUATED = [
  ["nll", "NLL"],
  ["mean_p", "mean p"],
  ["score", "score"],
  ["nll_rise", "NLL above that of the start"],
  ["reward_margin", "reward margin"],
  ["reward_accuracy", "reward accuracy"],
] as const

function evaluationCharts(runs: readonly RunSummary[]): string[] {
  const sets = [...new Set(runs.flatMap(({ evals }) => evals.map(({ name }) => name)))]
  return sets.flatMap((set) =>
    EVALUATED.map(([field, words]) => {
      const series = runs.map(({ name, evals }, index) => {
        const own = evals.filter((event) => event.name === set)
        const points = own.map((event) => [event.step, event[field] ?? Number.NaN] as const)
        return { name, color: colorOf(index), points }
      })
      // One evaluation is a number, and the table has it.
      const drawn = series.some(({ points }) => points.length > 1)
      return drawn ? lineChart(`${set}: ${words}`, series) : ""
    }),
  )
}

function curvesSection(runs: readonly RunSummary[]): string {
  const steps = runs.map(({ name, steps }) => ({ name, columns: drawnColumns(stepColumns(steps)) }))
  const rollouts = runs.map(({ name, rollouts }) => ({ name, columns: rolloutColumns(rollouts) }))
  const figures = [
    ...allMeasures(rollouts, rolloutMeasures).flatMap((measure) =>
      measureCharts(measure, rollouts),
    ),
    ...allMeasures(steps, (columns) => stepMeasures(columns, new Set())).flatMap((measure) =>
      measureCharts(measure, steps),
    ),
    ...evaluationCharts(runs),
  ].join("")
  return figures === ""
    ? ""
    : `<section><h2>Curves</h2>${legend(runs)}<div class="charts">${figures}</div></section>`
}

/** A legend of the runs' colours, for places where the page's head is out of view. */
function legend(runs: readonly RunSummary[]): string {
  if (runs.length === 1) return ""
  const names = runs.map(({ name }, index) => `<span>${swatch(index)}${escapeHtml(name)}</span>`)
  return `<p class="legend">${names.join("")}</p>`
}

function histogramSection(runs: readonly RunSummary[]): string {
  const sets = [...new Set(runs.flatMap(({ histograms }) => histograms.map(({ name }) => name)))]
  const charts = sets.flatMap((set) =>
    runs.map((run, index) => {
      const own = run.histograms.filter(({ name }) => name === set)
      const [first, last] = [own[0], own.at(-1)]
      if (first === undefined || last === undefined) return ""
      const shown = first === last ? [last] : [first, last]
      return histogramChart(
        `${run.name}, ${set}: ${shown.map(({ step }) => `step ${step}`).join(" → ")}`,
        shown.map((event: HistogramEvent, k) => ({
          name: `step ${event.step}`,
          color: k === shown.length - 1 ? colorOf(index) : BEFORE,
          counts: paperBins(event),
        })),
      )
    }),
  )
  const figures = charts.join("")
  if (figures === "") return ""
  return `<section><h2>Token probabilities, before and after</h2><p class="note">Share of the supervised tokens by the probability the model gives them; before in grey; logarithmic, with the paper's bins. SFT lifts unlikely tokens; DFT makes the shape bimodal.</p><div class="charts">${figures}</div></section>`
}

function settingsSection(runs: readonly RunSummary[]): string {
  if (runs.length === 1) {
    const config = escapeHtml(JSON.stringify(runs[0]!.config, null, 2))
    return `<section><h2>Settings</h2><details><summary>config.json</summary><pre>${config}</pre></details></section>`
  }
  const settings = differingSettings(runs)
  if (settings.length === 0) return "<section><h2>Settings</h2><p>No setting differs.</p></section>"
  const rows = settings.map(({ key, values }) => {
    const cells = values.map((value) => `<td>${escapeHtml(value ?? "–")}</td>`).join("")
    return `<tr><th>${escapeHtml(key)}</th>${cells}</tr>`
  })
  return `<section><h2>Settings that differ</h2><div class="wide"><table>${headerRow(runs)}<tbody>${rows.join("")}</tbody></table></div></section>`
}
