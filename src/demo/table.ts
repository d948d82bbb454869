/** The demo's numbers as text for a terminal. */
import {
  type DemoResult,
  dftMinusSft,
  findScore,
  type Score,
  type Temperature,
  temperatureText,
} from "./experiment.ts"

const percent = (share: number): string => (100 * share).toFixed(0)

/**
 * Percent, and half the width of the interval. None or all of n right leaves nothing to resample:
 * the bound is then 3 / n (95 %, one-sided).
 */
export function scoreText(score: Pick<Score, "score" | "ci95" | "problems"> | undefined): string {
  if (score === undefined) return ""
  const [low, high] = score.ci95
  const bound = 3 / score.problems
  if (score.score === 0) return `0 (<${percent(bound)})`
  if (score.score === 1) return `100 (>${percent(1 - bound)})`
  return `${percent(score.score)} ±${percent((high - low) / 2)}`
}

export function signed(share: number): string {
  const text = percent(Math.abs(share))
  return text === "0" ? text : `${share > 0 ? "+" : "−"}${text}`
}

export interface TableRow {
  readonly set: string
  readonly temperature: Temperature
  readonly cells: readonly string[]
  /** Whether the interval of DFT minus SFT leaves zero out. */
  readonly exceedsNoise: boolean
}

export const COLUMNS = ["base", "base T=½", "SFT", "DFT", "DFT − SFT"] as const

/** A row for each set and temperature of a task. */
export function tableRows({ scores, tasks }: DemoResult, task: Score["task"]): TableRow[] {
  const { sets } = tasks.find(({ name }) => name === task)!
  return sets.flatMap(({ name: set }) =>
    ([1, 0] as const).map((temperature) => {
      const at = (model: Score["model"], t: Temperature = temperature) =>
        findScore(scores, { task, set, model, temperature: t })
      const { difference, ci95, exceedsNoise } = dftMinusSft(scores, { task, set, temperature })
      const interval = `${signed(difference)} [${signed(ci95[0])}, ${signed(ci95[1])}]`
      return {
        set,
        temperature,
        exceedsNoise,
        cells: [
          scoreText(at("base")),
          temperature === 1 ? scoreText(at("base", 0.5)) : "",
          scoreText(at("sft")),
          scoreText(at("dft")),
          interval,
        ],
      }
    }),
  )
}

/** The tables in at most `width` columns: side by side where there is room, else a block a row. */
export function demoText(result: DemoResult, width: number): string {
  return result.tasks
    .map(({ name, about }) => {
      const rows = tableRows(result, name)
      const table = aligned([
        ["", ...COLUMNS],
        ...rows.map(({ set, temperature, cells }) => [
          `${set}, ${temperatureText(temperature)}`,
          ...cells,
        ]),
      ])
      const fits = table.every((line) => line.length <= width)
      return [`${name}: ${about}`, ...(fits ? table : rows.flatMap(block))].join("\n")
    })
    .join("\n\n")
}

function block({ set, temperature, cells }: TableRow): string[] {
  const lines = cells.flatMap((cell, i) =>
    cell === "" ? [] : [`  ${COLUMNS[i]!.padEnd(10)} ${cell}`],
  )
  return [`${set}, ${temperatureText(temperature)}`, ...lines]
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join("  ")
      .trimEnd(),
  )
}
