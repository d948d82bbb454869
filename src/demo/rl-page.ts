/** What `demo --rl` says: a table for the terminal, conclusions, and its page. */
import { escapeHtml } from "../report/charts.ts"
import { reportHtml } from "../report/run-page.ts"
import { summarizeRuns } from "../report/run-summary.ts"
import { readRun } from "../run/run-folder.ts"
import { findRlScore, grpoMinus, RL_OBJECTIVES, type RlDemoResult, type RlModel } from "./rl.ts"
import { scoreText, signed } from "./table.ts"

const MODELS: readonly RlModel[] = ["base", ...RL_OBJECTIVES]
const HEAD = ["", "base", "SFT", "DFT", "GRPO", "GRPO − base"] as const

/** A line for each set and temperature. */
export function rlRows({ sets, scores }: RlDemoResult): string[][] {
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

/** What the numbers say of the problems in the rows, and of the others. */
export function rlConclusions({ scores, sets }: RlDemoResult): string[] {
  const [trained, shorter, longer] = sets.map(({ name }) => name)
  const against = (model: Exclude<RlModel, "grpo">, set: string) => {
    const { difference, ci95, exceedsNoise } = grpoMinus(scores, model, { set, temperature: 1 })
    const points = `${Math.abs(100 * difference).toFixed(0)} points`
    const interval = `[${signed(ci95[0])}, ${signed(ci95[1])}]`
    const name = model === "base" ? "the base" : model.toUpperCase()
    if (!exceedsNoise) return `no different from ${name} beyond noise ${interval}`
    return `${points} ${difference > 0 ? "better" : "worse"} than ${name} ${interval}`
  }
  return [
    `${trained}, T = 1: GRPO is ${["base", "sft", "dft"].map((model) => against(model as "sft", trained!)).join("; ")}.`,
    `${shorter}, of which the rows have none, T = 1: GRPO is ${against("base", shorter!)}.`,
    `${longer}, longer than anything the base was trained on, T = 1: GRPO is ${against("base", longer!)}.`,
  ]
}

export function rlPage(result: RlDemoResult, conclusions: readonly string[]): string {
  const first = result.runs.filter(({ seed }) => seed === 1)
  const summaries = summarizeRuns(first.map(({ path }) => readRun(path)))
  const head = HEAD.map((cell) => `<th>${escapeHtml(cell)}</th>`).join("")
  const body = rlRows(result)
    .map(([name, ...cells]) => {
      const numbers = cells.map((cell) => `<td>${escapeHtml(cell)}</td>`).join("")
      return `<tr><th>${escapeHtml(name!)}</th>${numbers}</tr>`
    })
    .join("")
  const items = conclusions.map((line) => `<li>${escapeHtml(line)}</li>`).join("")
  const sets = result.sets.map(({ name, about }) => `${name}: ${about}`).join("; ")
  const { seeds, questions } = result.settings
  return reportHtml(summaries, {
    title: "dftune demo --rl: answers without solutions",
    sections: [
      `<section><h2>What happened</h2><ul>${items}</ul><p class="note">The rows hold a question and its number, no worked solution. SFT and DFT are trained on "The answer is N."; GRPO samples eight answers of a question from the model and is told which end in the right number. ${seeds} runs each, ${questions} questions a set, ${Math.round(result.seconds)} s in all. One small model says nothing of how others fare.</p></section>`,
      `<section><h2>Percent right</h2><p class="note">${escapeHtml(sets)}. 95 % intervals, resampling problems.</p><div class="wide"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div></section>`,
    ],
  })
}
