/** What a study found, from its events alone. */
import { isDeepStrictEqual } from "node:util"
import { InputError } from "../errors.ts"
import { type CrossedDifference, crossedDifference, holm } from "../evaluate/crossed-difference.ts"
import { averageAtN, meanPassAtK, type Outcomes } from "../evaluate/index.ts"
import { powersUpTo } from "../grading/pass-at-k.ts"
import type { Contrast } from "./contrasts.ts"
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
  for (const event of events) {
    const own = key(event)
    const group = groups.get(own)
    if (group === undefined) groups.set(own, [event])
    else group.push(event)
  }
  return [...groups.values()]
}

/** What tells a result from every other of its study. */
function resultKey(event: ScoreEvent | LossEvent): string {
  const of = event.type === "score" ? [event.evaluation, event.decoding] : [event.name]
  // of a run to choose by the value that it tries is told by its name alone
  const run = event.stage === "choose" ? [event.cell] : []
  return JSON.stringify([event.type, event.stage, event.arm, event.seed, ...run, ...of])
}

/**
 * The events without a result that stands there twice, as in files that were joined.
 *
 * @throws InputError for two that contradict each other
 */
function toldOnce(events: readonly StudyEvent[]): StudyEvent[] {
  const told = new Map<string, ScoreEvent | LossEvent>()
  return events.filter((event) => {
    if (event.type !== "score" && event.type !== "loss") return true
    const key = resultKey(event)
    const before = told.get(key)
    if (before === undefined) told.set(key, event)
    else if (!isDeepStrictEqual(before, event)) {
      const on = event.type === "score" ? event.evaluation : event.name
      throw new InputError(
        `${event.cell}: has two different results of ${on}; these are the events of two studies, or were changed`,
      )
    }
    return before === undefined
  })
}

/** Each comparison at its first naming: Holm counts them. */
function namedContrasts(events: readonly StudyEvent[]) {
  const all = events.flatMap((event) =>
    event.type === "study.contrasts"
      ? event.contrasts.map((contrast) => ({ contrast, before: !event.after_results }))
      : [],
  )
  const key = ({ a, b, on, at, bAt }: Contrast) => JSON.stringify([a, b, on, at, bAt])
  return grouped(all, ({ contrast }) => key(contrast)).map(([first]) => first!)
}

/** @throws InputError where two results of one run contradict each other */
export function analyse(all: readonly StudyEvent[]): StudyResult {
  const events = toldOnce(all)
  const scores = events.filter(
    (event): event is ScoreEvent => event.type === "score" && event.stage !== "choose",
  )
  const losses = events.filter((event): event is LossEvent => event.type === "loss")
  const named = events.filter((event) => event.type === "study.contrasts")
  const contrasts = namedContrasts(events).map(({ contrast, before }) => {
    const table = differenceTable(contrast, { scores, losses })
    const bound = contrast.at === null ? {} : { bound: 1 }
    return { contrast, before, ...crossedDifference(table, bound) }
  })
  const family = holm(contrasts.filter(({ before }) => before).map(({ p }) => p))
  let next = 0
  const ends = events.filter((event) => event.type === "cell.end")
  const each = new Map(ends.map((event) => [JSON.stringify(event), event])).values()
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
    hours: [...each].reduce((sum, { seconds }) => sum + seconds, 0) / 3600,
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
  const n = all.flat().reduce((least, one) => Math.min(least, one.length), Number.POSITIVE_INFINITY)
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
