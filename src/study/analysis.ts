/** What a study found, from its events alone. */
import { type CrossedDifference, crossedDifference, holm } from "../evaluate/crossed-difference.ts"
import { averageAtN, meanPassAtK, type Outcomes } from "../evaluate/index.ts"
import { powersUpTo } from "../grading/pass-at-k.ts"
import { type Contrast, decodingText } from "./contrasts.ts"
import type { LossEvent, ScoreEvent, StudyEvent } from "./study-events.ts"
import type { Decoding } from "./study-schema.ts"

export interface ScoreRow {
  readonly evaluation: string
  readonly decoding: Decoding
  readonly arm: string
  readonly score: number
  readonly perSeed: readonly number[]
  readonly problems: number
  /** pass@k for k = 2, 4, ... and the number of samples; empty of one sample. */
  readonly passAtK: readonly { readonly k: number; readonly score: number }[]
  readonly n: number
  readonly tokens: number | null
  readonly ended: number
}

export interface LossRow {
  readonly name: string
  readonly arm: string
  /** Nats a token. */
  readonly nll: number
}

export interface ContrastRow extends CrossedDifference {
  readonly contrast: Contrast
  /** After Holm over the contrasts named before results; null of one named after. */
  readonly adjusted: number | null
}

/** What an arm's values that were chosen from scored on the validation problems. */
export interface ChoiceRow {
  readonly arm: string
  /** What its runs then had; null before one has begun. */
  readonly chosen: string | null
  readonly candidates: readonly { readonly value: string; readonly score: number }[]
}

export interface StudyResult {
  readonly study: string
  readonly about: string
  readonly limits: string
  readonly scores: readonly ScoreRow[]
  readonly losses: readonly LossRow[]
  readonly contrasts: readonly ContrastRow[]
  readonly choices: readonly ChoiceRow[]
  readonly failures: readonly { readonly cell: string; readonly message: string }[]
  /** Settings of each final run. */
  readonly runs: readonly { readonly cell: string; readonly settings: unknown }[]
  readonly hours: number
}

const mean = (values: readonly number[]): number =>
  values.reduce((a, b) => a + b, 0) / values.length

const outcomesOf = ({ outcomes }: ScoreEvent): Map<string, Outcomes> =>
  new Map(Object.entries(outcomes).map(([id, text]) => [id, [...text].map((c) => c === "1")]))

/** By seed (0 for a model that has none), the value of each problem or row. */
type Values = Map<number | null, Map<string, number>>

function grouped<E>(events: readonly E[], key: (event: E) => string): E[][] {
  const groups = new Map<string, E[]>()
  for (const event of events) groups.set(key(event), [...(groups.get(key(event)) ?? []), event])
  return [...groups.values()]
}

export function analyse(events: readonly StudyEvent[]): StudyResult {
  const scores = events.filter(
    (event): event is ScoreEvent => event.type === "score" && event.stage !== "choose",
  )
  const losses = events.filter((event): event is LossEvent => event.type === "loss")
  const named = events.filter((event) => event.type === "study.contrasts")
  const contrasts = named.flatMap((one) =>
    one.contrasts.map((contrast) => {
      const table = differenceTable(contrast, { scores, losses })
      return {
        contrast,
        before: !one.after_results,
        ...crossedDifference(table, contrast.at === null ? {} : { bound: 1 }),
      }
    }),
  )
  const family = holm(contrasts.filter(({ before }) => before).map(({ p }) => p))
  let next = 0
  const ends = events.filter((event) => event.type === "cell.end")
  const lastEnds = [...new Map(ends.map((event) => [event.cell, event])).values()]
  return {
    study: named[0]?.study ?? "study",
    about: named.at(-1)?.about ?? "",
    limits: named.at(-1)?.limits ?? "",
    scores: grouped(scores, (e) => JSON.stringify([e.evaluation, e.decoding, e.arm])).map(scoreRow),
    losses: grouped(losses, ({ name, arm }) => JSON.stringify([name, arm])).map(lossRow),
    contrasts: contrasts.map(({ before, ...row }) => ({
      ...row,
      adjusted: before ? family[next++]! : null,
    })),
    choices: choicesOf(events),
    failures: lastEnds.flatMap(({ cell, reason, message = "" }) =>
      reason === "failed" ? [{ cell, message }] : [],
    ),
    runs: events.flatMap((event) =>
      event.type === "cell.start" && event.stage === "final"
        ? [{ cell: event.cell, settings: event.settings }]
        : [],
    ),
    hours: ends.reduce((sum, { seconds }) => sum + seconds, 0) / 3600,
  }
}

function choicesOf(events: readonly StudyEvent[]): ChoiceRow[] {
  const candidateOf = new Map(
    events.flatMap((event) =>
      event.type === "cell.end" && event.candidate !== null
        ? [[event.cell, event.candidate] as const]
        : [],
    ),
  )
  const chosenBy = new Map(
    events.flatMap((event) =>
      event.type === "cell.start" && event.chosen !== undefined
        ? [[event.arm, event.chosen] as const]
        : [],
    ),
  )
  const tried = events.flatMap((event) => {
    if (event.type !== "score" || event.stage !== "choose") return []
    const value = candidateOf.get(event.cell)
    if (value === undefined) return []
    return [{ arm: event.arm, value, score: averageAtN([...outcomesOf(event).values()]) }]
  })
  return grouped(tried, ({ arm }) => arm).map((ofArm) => ({
    arm: ofArm[0]!.arm,
    chosen: chosenBy.get(ofArm[0]!.arm) ?? null,
    candidates: grouped(ofArm, ({ value }) => value).map((same) => ({
      value: same[0]!.value,
      score: mean(same.map(({ score }) => score)),
    })),
  }))
}

function scoreRow(events: readonly ScoreEvent[]): ScoreRow {
  const { evaluation, decoding, arm } = events[0]!
  const all = events.map((event) => [...outcomesOf(event).values()])
  const n = Math.min(...all.flat().map((one) => one.length))
  const perSeed = all.map(averageAtN)
  const tokens = events.flatMap((event) => (event.tokens === null ? [] : [event.tokens]))
  return {
    evaluation,
    decoding,
    arm,
    n,
    perSeed,
    score: mean(perSeed),
    problems: all[0]!.length,
    passAtK: powersUpTo(n)
      .filter((k) => k > 1)
      .map((k) => ({ k, score: mean(all.map((one) => meanPassAtK(one, k))) })),
    tokens: tokens.length === 0 ? null : mean(tokens),
    ended: mean(events.map(({ ended }) => ended)),
  }
}

function lossRow(events: readonly LossEvent[]): LossRow {
  const { name, arm } = events[0]!
  const perRun = events.map(({ rows }) => {
    const sums = Object.values(rows)
    return sums.reduce((sum, [nll]) => sum + nll, 0) / sums.reduce((sum, [, n]) => sum + n, 0)
  })
  return { name, arm, nll: mean(perRun) }
}

interface Found {
  readonly scores: readonly ScoreEvent[]
  readonly losses: readonly LossEvent[]
}

function valuesOf(arm: string, on: string, at: Decoding | null, { scores, losses }: Found): Values {
  if (at !== null) {
    const own = scores.filter((e) => e.arm === arm && e.evaluation === on && e.decoding === at)
    return new Map(
      own.map((event) => [
        event.seed,
        new Map([...outcomesOf(event)].map(([id, one]) => [id, mean(one.map(Number))])),
      ]),
    )
  }
  const own = losses.filter((event) => event.arm === arm && event.name === on)
  return new Map(
    own.map(({ seed, rows }) => {
      const tokens = mean(Object.values(rows).map(([, count]) => count))
      // over the mean length: the mean over rows is then the mean over tokens
      const shares = Object.entries(rows).map(([id, [nll]]) => [id, nll / tokens] as const)
      return [seed, new Map(shares)]
    }),
  )
}

/** [problem][seed], of the problems and seeds that both have; a model without seed meets all. */
function differenceTable({ a, b, on, at, bAt }: Contrast, found: Found): number[][] {
  const [left, right] = [valuesOf(a, on, at, found), valuesOf(b, on, bAt, found)]
  const all = [...new Set([...left.keys(), ...right.keys()])]
  // two models that were not trained have no seed to be paired by
  const seeds = all.every((seed) => seed === null) ? all : all.filter((seed) => seed !== null)
  const pairs = seeds.flatMap((seed) => {
    const [x, y] = [left.get(seed) ?? left.get(null), right.get(seed) ?? right.get(null)]
    return x && y ? [[x, y] as const] : []
  })
  const [first] = pairs
  if (first === undefined) return []
  const ids = [...first[0].keys()].filter((id) => pairs.every(([x, y]) => x.has(id) && y.has(id)))
  return ids.map((id) => pairs.map(([x, y]) => x.get(id)! - y.get(id)!))
}

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
