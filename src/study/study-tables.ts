/** What a study found, as the tables of its report. */
import type { StudyResult } from "./analysis.ts"
import { decodingText } from "./contrasts.ts"

const pText = (p: number) => (p < 0.0005 ? "< 0.001" : p.toFixed(3))
const percent = (share: number) => (100 * share).toFixed(1)
const signed = (share: number, digits: (x: number) => string) =>
  `${share < 0 ? "−" : "+"}${digits(Math.abs(share))}`

/** A table of the report: its title, what it means, and its cells, the head first. */
export interface Table {
  readonly title: string
  readonly note: string
  readonly rows: readonly (readonly string[])[]
}

export function studyTables(result: StudyResult): Table[] {
  const { scores, losses, contrasts, choices, failures } = result
  const fixed = contrasts.some(({ seedsFixed }) => seedsFixed)
  const tables: Table[] = [
    {
      title: "Contrasts",
      note: `Percentage points (NLL: nats a token), paired by problem and seed, 95 % t intervals; p after Holm over the contrasts that were named before results.${fixed ? " Of fewer than five seeds the seeds are fixed: the interval speaks of these runs alone." : ""}`,
      rows: [
        ["contrast", "difference", "95 %", "p", "p, Holm", "problems", "seeds"],
        ...contrasts.map(({ contrast, difference, ci95, p, adjusted, problems, seeds }) => {
          const text = (x: number) =>
            signed(x, contrast.at === null ? (one) => one.toFixed(3) : percent)
          const family = adjusted === null ? "named after results" : pText(adjusted)
          // of one problem alone there is a difference, and nothing to tell how sure it is
          const interval = problems < 2 ? "" : `${text(ci95[0])} to ${text(ci95[1])}`
          const found =
            problems === 0
              ? ["no results yet", "", "", adjusted === null ? family : ""]
              : [text(difference), interval, pText(p), family]
          return [contrast.name, ...found, String(problems), String(seeds)]
        }),
      ],
    },
    {
      title: "Scores",
      note: "Percent right; ended: share of the answers that ended by themselves.",
      rows: [
        ["evaluation", "decoding", "arm", "score", "each seed", "pass@k", "tokens", "ended"],
        ...scores.map((row) => [
          row.evaluation,
          decodingText(row.decoding),
          row.arm,
          percent(row.score),
          row.perSeed.map(percent).join(" "),
          row.passAtK.map(({ k, score }) => `@${k} ${percent(score)}`).join(" "),
          row.tokens === null ? "" : row.tokens.toFixed(0),
          percent(row.ended),
        ]),
      ],
    },
    {
      title: "Chosen on the validation problems",
      note: "Percent right of each value, on problems that no result uses; of equals the first is taken.",
      rows: [
        ["arm", "chosen", "of"],
        ...choices.map(({ arm, chosen, candidates }) => [
          arm,
          chosen ?? "not yet",
          candidates.map(({ value, score }) => `${value}: ${percent(score)}`).join(", "),
        ]),
      ],
    },
    {
      title: "Forgetting",
      note: "Mean NLL of the rows, nats a token.",
      rows: [
        ["rows", "arm", "NLL"],
        ...losses.map((row) => [row.name, row.arm, row.nll.toFixed(4)]),
      ],
    },
    {
      title: "Runs that failed",
      note: "",
      rows: [["run", "why"], ...failures.map(({ cell, message }) => [cell, message])],
    },
  ]
  return tables.filter(({ rows }) => rows.length > 1)
}
