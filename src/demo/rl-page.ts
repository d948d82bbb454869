/** What `demo --rl` says: a table for the terminal, conclusions, and its page. */
import type { Difference } from "../evaluate/index.ts"
import { escapeHtml } from "../report/charts.ts"
import { reportHtml } from "../report/run-page.ts"
import { summarizeRuns } from "../report/run-summary.ts"
import { readRun } from "../run/run-folder.ts"
import {
  findRlScore,
  grpoMinus,
  RL_ARMS,
  type RlArm,
  type RlDemoResult,
  type RlModel,
  type RlScore,
} from "./rl.ts"
import { scoreText, signed } from "./table.ts"

const ARMS = Object.keys(RL_ARMS) as RlArm[]
const MODELS: readonly RlModel[] = ["base", ...ARMS]
const HEAD = ["", "base", ...ARMS.map((arm) => RL_ARMS[arm].title), "GRPO − base"]

/** A line for each set and temperature. */
function rlRows({ sets, scores }: RlDemoResult): string[][] {
  return sets.flatMap(({ name: set }) =>
    ([1, 0] as const).map((temperature) => {
      const cells = MODELS.map((model) =>
        scoreText(findRlScore(scores, { set, model, temperature })),
      )
      const { difference, ci95 } = grpoMinus(scores, "base", { set, temperature })
      const apart = `${signed(difference)} [${signed(ci95[0])}, ${signed(ci95[1])}]`
      return [`${set}, ${temperature === 0 ? "greedy" : "T = 1"}`, ...cells, apart]
    }),
  )
}

export function rlText(result: RlDemoResult): string {
  const rows = [[...HEAD], ...rlRows(result)]
  const widths = HEAD.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n")
}

const IN_WORDS: { readonly [Model in Exclude<RlModel, "grpo">]: string } = {
  base: "the base",
  "sft-short": "SFT on the short sums' solutions",
  "dft-short": "DFT on them",
  "sft-long": "SFT on the long sums' answers",
  "dft-long": "DFT on them",
}
const OTHERS = Object.keys(IN_WORDS) as (keyof typeof IN_WORDS)[]

/** What the numbers say of the long sums, and of the others. */
export function rlConclusions({ scores, sets }: RlDemoResult): string[] {
  const [long, shorter, longer] = sets.map(({ name }) => name)
  const against = (where: Where, models: readonly (keyof typeof IN_WORDS)[]) =>
    models.map((model) => standing(grpoMinus(scores, model, where), IN_WORDS[model])).join("; ")
  const both = (set: string, about: string, models: readonly (keyof typeof IN_WORDS)[]) =>
    `${set}, ${about}. T = 1: GRPO is ${against({ set, temperature: 1 }, models)}. Greedy: ${against({ set, temperature: 0 }, models)}.`
  return [
    both(long!, "longer than any sum with a solution", OTHERS),
    both(shorter!, "of which GRPO saw none", ["base", "sft-short"]),
    both(longer!, "longer than anything the base was trained on", ["base"]),
  ]
}

type Where = Pick<RlScore, "set" | "temperature">

function standing({ difference, ci95, exceedsNoise }: Difference, name: string): string {
  const interval = `[${signed(ci95[0])}, ${signed(ci95[1])}]`
  if (!exceedsNoise) return `no different from ${name} beyond noise ${interval}`
  const points = `${Math.abs(100 * difference).toFixed(0)} points`
  return `${points} ${difference > 0 ? "better" : "worse"} than ${name} ${interval}`
}

export function rlPage(result: RlDemoResult, conclusions: readonly string[]): string {
  const first = result.runs.filter(({ seed }) => seed === 1)
  const summaries = summarizeRuns(first.map(({ path }) => readRun(path)))
  const items = conclusions.map((line) => `<li>${escapeHtml(line)}</li>`).join("")
  const sets = result.sets.map(({ name, about }) => `${name}: ${about}`).join("; ")
  const { seeds, questions } = result.settings
  return reportHtml(summaries, {
    title: "dftune demo --rl: longer sums than it has solutions for",
    sections: [
      `<section><h2>What happened</h2><ul>${items}</ul><p class="note">Sums of two and three steps have worked solutions: on these SFT and DFT are trained (short). Of sums of four steps only the answers are known: SFT and DFT are trained on "The answer is N." (long), GRPO samples eight answers of a question from the model and is told which end in the right number. ${seeds === 1 ? "One run" : `${seeds} runs`} each, ${questions} questions a set, ${Math.round(result.seconds)} s in all. The base has seen four steps in one text of a hundred, and never more. One small model says nothing of how others fare.</p></section>`,
      `<section><h2>Percent right</h2><p class="note">${escapeHtml(sets)}. 95 % intervals, resampling problems.</p>${table(HEAD, rlRows(result))}</section>`,
      `<section><h2>Each run</h2><p class="note">Percent right of each seed's run, T = 1 and greedy: how far runs differ.</p>${table(["", ...HEAD.slice(2, -1)], runRows(result))}</section>`,
    ],
  })
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (kind: "td" | "th", texts: readonly string[]) =>
    texts.map((text) => `<${kind}>${escapeHtml(text)}</${kind}>`).join("")
  const body = rows.map(([name, ...rest]) => `<tr>${cells("th", [name!])}${cells("td", rest)}</tr>`)
  return `<div class="wide"><table><thead><tr>${cells("th", head)}</tr></thead><tbody>${body.join("")}</tbody></table></div>`
}

function runRows({ sets, scores }: RlDemoResult): string[][] {
  return sets.flatMap(({ name: set }) =>
    ([1, 0] as const).map((temperature) => {
      const cells = ARMS.map((model) => {
        const found = findRlScore(scores, { set, model, temperature })
        return (found?.perSeed ?? []).map((share) => (100 * share).toFixed(0)).join(", ")
      })
      return [`${set}, ${temperature === 0 ? "greedy" : "T = 1"}`, ...cells]
    }),
  )
}
