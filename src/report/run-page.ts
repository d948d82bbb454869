/** `report.html`: one or several runs on one page that opens offline; no scripts, nothing fetched. */
import type { EvalEvent, HistogramEvent, RolloutEvent, StepEvent } from "../run/events.ts"
import { escapeHtml, histogramChart, lineChart, paperBins } from "./charts.ts"
import { differingSettings } from "./differing-settings.ts"
import {
  courseText,
  effectiveShare,
  type RunFigures,
  type RunSummary,
  runFigures,
} from "./run-summary.ts"
import { sampleSection } from "./samples-section.ts"
import { REPORT_STYLE } from "./style.ts"
import { precisionText, shortBytes, shortCount, shortDuration, shortNumber } from "./units.ts"

/** Told apart by people with any colour vision (Okabe and Ito); runs beyond them share colours. */
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a"]
const BEFORE = "#9a9a9a"

const colorOf = (index: number): string => COLORS[index % COLORS.length]!

/** What a page may have beside its runs. */
export interface ReportExtras {
  readonly title?: string
  /** Sections that come first, as HTML whose text is escaped already (`escapeHtml`). */
  readonly sections?: readonly string[]
}

/** The page. The same runs always give the same bytes. */
export function reportHtml(runs: readonly RunSummary[], extras: ReportExtras = {}): string {
  const names = runs.map(({ name }) => name).join(" · ")
  const { title = names } = extras
  const sections = [
    ...(extras.sections ?? []),
    figuresSection(runs),
    warningsSection(runs),
    curvesSection(runs),
    histogramSection(runs),
    sampleSection(runs, swatch),
    settingsSection(runs),
  ]
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="generator" content="dftune">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>${escapeHtml(title)} · dftune</title>
<style>${REPORT_STYLE}</style>
</head>
<body>
<header><h1>${escapeHtml(title)}</h1>${runs.map(headline).join("")}</header>
<main>${sections.join("\n")}</main>
</body>
</html>
`
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

type Cell = (figures: RunFigures) => string

const FIGURES: readonly (readonly [label: string, meaning: string, cell: Cell])[] = [
  ["state", "", (f) => f.state],
  ["steps", "done of planned", (f) => `${f.steps} / ${f.planned_steps}`],
  ["loss", "the objective's; not comparable between objectives", (f) => courseText(f.course.loss)],
  ["NLL", "mean cross-entropy, comparable between objectives", (f) => courseText(f.course.nll)],
  ["mean p", "mean probability of the targets", (f) => courseText(f.course.mean_p)],
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

function figuresSection(runs: readonly RunSummary[]): string {
  const figures = runs.map(runFigures)
  const rows = FIGURES.map(([label, meaning, cell]) => {
    const cells = figures.map((one) => `<td>${escapeHtml(cell(one))}</td>`).join("")
    return `<tr><th>${label} <small>${meaning}</small></th>${cells}</tr>`
  })
  const sets = [...new Set(figures.flatMap(({ evals }) => Object.keys(evals)))]
  const evals = sets.map((name) => {
    const cells = figures.map((f) => `<td>${escapeHtml(evalCourse(f, name))}</td>`).join("")
    return `<tr><th>${escapeHtml(name)} <small>first and last evaluation</small></th>${cells}</tr>`
  })
  return `<section><h2>Figures</h2><p class="note">Training figures are means over the first and the last tenth of the steps, with the standard error of the latter. A falling DFT loss proves nothing by itself: read it beside NLL and mean p.</p><div class="wide"><table>${headerRow(runs)}<tbody>${rows.join("")}${evals.join("")}</tbody></table></div></section>`
}

function headerRow(runs: readonly RunSummary[]): string {
  const names = runs.map(({ name }, index) => {
    return `<th>${swatch(index)}${escapeHtml(name)}</th>`
  })
  return `<thead><tr><th></th>${names.join("")}</tr></thead>`
}

/** The first evaluation of a set and the last, in words. */
export function evalCourse({ evals, first_evals: first }: RunFigures, set: string): string {
  const [then, now] = [first[set], evals[set]]
  return then === undefined ? evalText(now) : `${evalText(then)} → ${evalText(now)}`
}

/** An evaluation in words: score with its interval, or NLL and mean p. */
export function evalText(result: Omit<Partial<EvalEvent>, "type"> | undefined): string {
  if (result === undefined) return "–"
  const { score, ci95, n, nll, mean_p, reward_margin, reward_accuracy } = result
  const parts: string[] = []
  if (score !== undefined) {
    const range = ci95 === undefined ? "" : ` [${shortNumber(ci95[0])}, ${shortNumber(ci95[1])}]`
    parts.push(`${shortNumber(score)}${range}${n === undefined ? "" : `, n ${n}`}`)
  }
  if (nll !== undefined) parts.push(`NLL ${shortNumber(nll)}`)
  if (mean_p !== undefined) parts.push(`p ${shortNumber(mean_p)}`)
  if (reward_margin !== undefined) parts.push(`margin ${shortNumber(reward_margin)}`)
  if (reward_accuracy !== undefined) parts.push(`accuracy ${shortNumber(reward_accuracy)}`)
  return parts.join(", ")
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

type Curve = (run: RunSummary) => (event: StepEvent) => number | null | undefined

const CURVES: readonly (readonly [title: string, value: Curve, axis?: { log: boolean }])[] = [
  ["NLL", () => (event) => event.nll],
  ["loss (the objective's)", () => (event) => event.loss],
  ["mean p of the targets", () => (event) => event.mean_p],
  ["end-of-turn p", () => (event) => event.eos_p, { log: true }],
  ["effective tokens, share", ({ steps }) => effectiveShare(steps)],
  ["entropy, nats", () => (event) => event.entropy],
  ["token accuracy", () => (event) => event.token_accuracy],
  ["gradient norm before clipping", () => (event) => event.grad_norm],
  ["learning rate", () => (event) => event.learning_rate],
  ["tokens/s", () => (event) => event.tokens_per_second],
  ["KL to the reference", () => (event) => event.kl_ref],
  ["reward margin", () => (event) => event.reward_margin],
  ["reward accuracy", () => (event) => event.reward_accuracy],
  ["reward of the chosen", () => (event) => event.reward_chosen],
  ["reward of the rejected", () => (event) => event.reward_rejected],
  ["ln p of the chosen, a sum", () => (event) => event.logp_chosen],
  ["ln p of the rejected, a sum", () => (event) => event.logp_rejected],
  ["NLL of the chosen", () => (event) => event.nll_chosen],
  ["KTO's z0", () => (event) => event.kl_step],
  ["clipped above, share of tokens", () => (event) => event.clip_high],
  ["clipped below, share of tokens", () => (event) => event.clip_low],
  ["pi / pi_old, largest", () => (event) => event.ratio?.max],
  ["ln pi_old - ln pi, mean", () => (event) => event.policy_kl],
]

const ROLLOUT_CURVES: readonly (readonly [
  title: string,
  value: (event: RolloutEvent) => number | null | undefined,
])[] = [
  ["reward", (event) => event.reward],
  ["groups with equal rewards, share", (event) => event.zero_variance_groups],
  ["length of samples, tokens", (event) => event.completion_length.mean],
  ["samples cut at the limit, share", (event) => event.truncated],
  ["entropy of samples, nats", (event) => event.entropy],
  ["ln p apart, sampler and training", (event) => event.logp_difference?.mean],
  ["sampled tokens/s", (event) => event.tokens_per_second],
]

/** Charts of rollouts, by the steps done before each; each reward of several has its own. */
function rolloutCharts(runs: readonly RunSummary[]): string[] {
  const names = [
    ...new Set(runs.flatMap(({ rollouts }) => Object.keys(rollouts[0]?.rewards ?? {}))),
  ]
  const own =
    names.length < 2
      ? []
      : names.map((name) => {
          return [`reward ${name}`, (event: RolloutEvent) => event.rewards[name]?.mean] as const
        })
  return [...ROLLOUT_CURVES, ...own].map(([title, value]) => {
    const series = runs.map(({ name, rollouts }, index) => {
      const points = rollouts.map((event) => [event.step, value(event) ?? Number.NaN] as const)
      return { name, color: colorOf(index), points }
    })
    return series.some(({ points }) => points.length > 1) ? lineChart(title, series) : ""
  })
}

function curvesSection(runs: readonly RunSummary[]): string {
  const charts = CURVES.map(([title, value, axis]) => {
    const series = runs.map((run, index) => {
      const at = value(run)
      const points = run.steps.map((event) => [event.step, at(event) ?? Number.NaN] as const)
      return { name: run.name, color: colorOf(index), points }
    })
    return lineChart(title, series, axis)
  })
  const sets = [...new Set(runs.flatMap(({ evals }) => evals.map(({ name }) => name)))]
  const evaluated = sets.flatMap((set) =>
    (["nll", "mean_p", "score", "reward_margin", "reward_accuracy"] as const).map((field) => {
      const series = runs.map(({ name, evals }, index) => {
        const own = evals.filter((event) => event.name === set)
        const points = own.map((event) => [event.step, event[field] ?? Number.NaN] as const)
        return { name, color: colorOf(index), points }
      })
      // One evaluation is a number, and the table has it.
      const drawn = series.some(({ points }) => points.length > 1)
      return drawn
        ? lineChart(`${set}: ${field === "nll" ? "NLL" : field.replace("_", " ")}`, series)
        : ""
    }),
  )
  const figures = [...rolloutCharts(runs), ...charts, ...sourceCharts(runs), ...evaluated].join("")
  return figures === ""
    ? ""
    : `<section><h2>Curves</h2>${legend(runs)}<div class="charts">${figures}</div></section>`
}

/** The NLL of each file's rows, where a run has several. */
function sourceCharts(runs: readonly RunSummary[]): string[] {
  const names = runs.flatMap(({ steps }) => steps.flatMap((e) => Object.keys(e.source_nll ?? {})))
  return [...new Set(names)].sort().map((source) => {
    const series = runs.map(({ name, steps }, index) => {
      const points = steps.map((e) => [e.step, e.source_nll?.[source] ?? Number.NaN] as const)
      return { name, color: colorOf(index), points }
    })
    return lineChart(`NLL of ${source}`, series)
  })
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

function percent(share: number | null): string {
  return share === null ? "–" : `${(100 * share).toFixed(0)} %`
}
