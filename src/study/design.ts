/** What a study is made of: arms, seeds, the runs that this makes, and the contrasts. */
import { createHash } from "node:crypto"
import { isObject } from "../formats/json.ts"
import { type Arm, BASE, type DesignProblem, list, MODEL, type Settings } from "./arms.ts"
import { type Contrast, contrastsOf } from "./contrasts.ts"
import type { StudyFields } from "./study-schema.ts"

/** One value of an axis, with what tables call it. */
export interface AxisValue {
  readonly label: string
  readonly set: Settings
}

/** One model that is asked: trained with one arm's settings and seed, or as it was before. */
export interface Cell {
  /** Its folder's name. */
  readonly id: string
  readonly arm: string
  /** `choose` is asked validation problems only, `final` the evaluations. */
  readonly stage: "base" | "choose" | "final"
  /** Of the choose stage: which of the values it tries. */
  readonly candidate: string | null
  readonly set: Settings
  /** null: not trained. */
  readonly seed: number | null
}

export interface Design {
  readonly arms: readonly Arm[]
  readonly seeds: readonly number[]
  /** What the choice is among; empty without a choice. */
  readonly candidates: readonly AxisValue[]
  readonly cells: readonly Cell[]
  readonly contrasts: readonly Contrast[]
}

export const SEED = "seed"
/** A training seed's models draw their samples with so many seeds, which no other's have. */
export const SAMPLE_SEEDS = 10_000_000
/** Above it those seeds are no numbers of their own; one more is left for the runs to choose by. */
const MOST_SEED = Math.floor(Number.MAX_SAFE_INTEGER / SAMPLE_SEEDS) - 3

/** What nobody waits for, and this machine cannot hold. */
const MOST_RUNS = 10_000
const NOTHING: Design = { arms: [], seeds: [], candidates: [], cells: [], contrasts: [] }

/** `DFT a=0.5` to `dft-a-0.5`. */
const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, "-")
    .replace(/^-|-$/g, "")

const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex").slice(0, 6)

/** Longer names of files are refused by some disks, once something stands behind them. */
const LONGEST_SLUG = 80

/** The slug of each name; with a hash where it is empty, too long or another's as well. */
function slugs(names: readonly string[]): ReadonlyMap<string, string> {
  const all = names.map(slug)
  return new Map(
    names.map((name, i) => {
      const short = all[i]!.slice(0, LONGEST_SLUG)
      const isOwn = all.every((other, j) => j === i || other.slice(0, LONGEST_SLUG) !== short)
      const isPlain = isOwn && short === all[i] && /[a-z0-9]/.test(short)
      return [name, isPlain ? short : `${short}-${hashOf(name)}`.replace(/^-/, "")]
    }),
  )
}

function parametersText(value: Settings): string {
  return Object.entries(value)
    .map(([key, one]) => ` ${key}=${isObject(one) ? JSON.stringify(one) : String(one)}`)
    .join("")
}

/**
 * The label of a value, from what it says itself, or from its key; undefined where neither does.
 */
function axisValue(key: string, value: unknown): AxisValue | undefined {
  const set = { [key]: value }
  const last = key.split(".").at(-1)!
  if (typeof value === "string") return { label: value, set }
  if (typeof value === "number") return { label: `${last} ${value}`, set }
  if (typeof value === "boolean") return { label: value ? last : `no ${last}`, set }
  if (!isObject(value)) return undefined
  const { as, set: given } = value
  if (typeof as === "string" && isObject(given)) return { label: as, set: given }
  const { name, ...parameters } = value
  return typeof name === "string"
    ? { label: `${name}${parametersText(parameters)}`, set }
    : undefined
}

const joined = (values: readonly AxisValue[]): AxisValue => ({
  label: values.map(({ label }) => label).join(" "),
  set: Object.assign({}, ...values.map(({ set }) => set)) as Settings,
})

/** Every combination of one value of each axis. */
function product(axes: readonly (readonly AxisValue[])[]): AxisValue[] {
  const all = axes.reduce<AxisValue[][]>(
    (before, axis) => before.flatMap((values) => axis.map((value) => [...values, value])),
    [[]],
  )
  return all.map(joined)
}

/** Makes the runs of a study; what is wrong between keys is listed. */
export function designOf(
  fields: StudyFields,
  /** Of the config, where no axis names seeds. */
  configSeed: unknown = 0,
): { design: Design; problems: DesignProblem[] } {
  const problems: DesignProblem[] = []
  const seeds = seedsOf(fields, configSeed, problems)
  const axes = Object.entries(fields.axes)
    .filter(([key]) => key !== SEED)
    .map(([key, values]) => ({
      key,
      values: values.flatMap((value, i): AxisValue[] => {
        const one = axisValue(key, value)
        if (one !== undefined) return [one]
        const message =
          "expected text, a number, a mapping with name, or { as: NAME, set: { ... } }"
        problems.push({ path: ["axes", key, i], message })
        return []
      }),
    }))
  const chosen = fields.choose === undefined ? [] : list(fields.choose.axes)
  const fixed = axes.filter(({ key }) => !chosen.includes(key))
  const tried = axes.filter(({ key }) => chosen.includes(key))
  // what is chosen is set last
  problems.push(...keyProblems([...fixed, ...tried]), ...nameProblems(fields))
  for (const key of chosen) {
    if (axes.some((axis) => axis.key === key)) continue
    const names = axes.map((axis) => axis.key).join(", ") || "none but seed"
    problems.push({ path: ["choose", "axes"], message: `${key} is no axis; axes are ${names}` })
  }
  const runs = Math.max(seeds.length, fields.choose?.seeds?.length ?? 0)
  const combinations = axes.reduce((count, { values }) => count * values.length, runs)
  if (combinations > MOST_RUNS) {
    const message = `they make ${combinations.toLocaleString("en-US")} runs; expected at most ${MOST_RUNS.toLocaleString("en-US")}`
    return { design: NOTHING, problems: [...problems, { path: ["axes"], message }] }
  }
  const arms = product(fixed.map(({ values }) => values)).map(
    ({ label, set }): Arm => ({ name: label || "run", set }),
  )
  const candidates = chosen.length === 0 ? [] : product(tried.map(({ values }) => values))
  problems.push(...repeated(arms.map(({ name }) => name)), ...choiceProblems(fields, candidates))
  const bases = fields.base === false ? [] : basesOf(fixed, arms)
  const cells = cellsOf(fields, { arms, bases, seeds, candidates })
  const contrasts = contrastsOf(fields, { arms, bases }, problems)
  return { design: { arms, seeds, candidates, cells, contrasts }, problems }
}

const repeat = <T>(values: readonly T[]): T | undefined =>
  values.find((value, i) => values.indexOf(value) !== i)

/** Values are told apart by what they are called, and each run to choose by counts once. */
function choiceProblems(
  { choose }: StudyFields,
  candidates: readonly AxisValue[],
): DesignProblem[] {
  const twice = repeat(candidates.map(({ label }) => label))
  const message = `two values to choose from are called "${twice}"; give { as, set } values`
  return [
    ...(twice === undefined ? [] : [{ path: ["choose", "axes"], message }]),
    ...seedProblems(choose?.seeds ?? [], ["choose", "seeds"]),
  ]
}

function seedProblems(seeds: readonly number[], path: DesignProblem["path"]): DesignProblem[] {
  const most = `expected at most ${MOST_SEED.toLocaleString("en-US")}: samples are drawn with ${SAMPLE_SEEDS.toLocaleString("en-US")} seeds for each`
  return [
    ...(repeat(seeds) === undefined ? [] : [{ path, message: "expected different whole numbers" }]),
    ...(seeds.some((seed) => seed > MOST_SEED) ? [{ path, message: most }] : []),
  ]
}

function repeated(names: readonly string[]): DesignProblem[] {
  const twice = repeat(names)
  const taken = names.find((name) => name === BASE || name.startsWith(`${BASE} `))
  return [
    ...(twice === undefined
      ? []
      : [{ path: ["axes"], message: `two arms are called "${twice}"; give { as, set } values` }]),
    ...(taken === undefined
      ? []
      : [
          {
            path: ["axes"],
            message: `"${taken}": ${BASE} is the model before training; give another name`,
          },
        ]),
  ]
}

/** Keys that the study writes into each run's config itself. */
const OWN_KEYS = ["output_dir", "resume"]

/**
 * Keys that an axis may not set, or that a second axis sets over the first.
 *
 * @param axes in the order in which they are set
 */
function keyProblems(
  axes: readonly { readonly key: string; readonly values: readonly AxisValue[] }[],
): DesignProblem[] {
  const setBy = new Map<string, string>()
  return axes.flatMap(({ key, values }) => {
    const keys = [...new Set(values.flatMap(({ set }) => Object.keys(set)))]
    const found = keys.flatMap((one): string[] => {
      if (OWN_KEYS.includes(one)) return [`${one} is set by the study; leave it out`]
      if (one === SEED) return ["seeds are an axis of their own: seed: [1, 2, 3]"]
      const other = setBy.get(one)
      if (other !== undefined) return [`${one} is set by the axis ${other} too; leave it to one`]
      return lostBelow(one, [...setBy.keys()])
    })
    const within = values.flatMap(({ set }) => {
      const own = Object.keys(set)
      return own.flatMap((one, i) => lostBelow(one, own.slice(0, i)))
    })
    for (const one of keys) setBy.set(one, key)
    return [...found, ...within].map((message) => ({ path: ["axes", key], message }))
  })
}

/** A key that is set behind one below it takes the other away: arms would be called what they lack. */
function lostBelow(key: string, before: readonly string[]): string[] {
  const lost = before.find((one) => one.startsWith(`${key}.`))
  if (lost === undefined) return []
  return [`${key} would be set over ${lost}; give both in one { as, set } value, ${key} first`]
}

/** Evaluations and losses are told apart by their names, and each decoding is asked once. */
function nameProblems({ evaluations, losses }: StudyFields): DesignProblem[] {
  const named = [
    ...evaluations.map(({ name }, i) => ({ name, path: ["evaluations", i, "name"] })),
    ...losses.map(({ name }, i) => ({ name, path: ["losses", i, "name"] })),
  ]
  // files are called by them, on disks too where letter case does not count
  const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase()
  const taken = named.filter(({ name }, i) => named.findIndex((one) => same(one.name, name)) < i)
  return [
    ...taken.map(({ name, path }) => ({ path, message: `another is called "${name}" already` })),
    ...evaluations.flatMap(({ decodings }, i) =>
      new Set(decodings).size === decodings.length
        ? []
        : [{ path: ["evaluations", i, "decodings"], message: "one of them is named twice" }],
    ),
  ]
}

function seedsOf({ axes }: StudyFields, configSeed: unknown, problems: DesignProblem[]): number[] {
  const values = axes[SEED] ?? [Number.isSafeInteger(configSeed) ? configSeed : 0]
  const seeds = values.filter((value): value is number => Number.isSafeInteger(value))
  const path = ["axes", SEED]
  if (seeds.length === values.length) problems.push(...seedProblems(seeds, path))
  else problems.push({ path, message: "expected different whole numbers" })
  return seeds
}

/** Seeds of the runs that a choice is made on: by default one that no result uses. */
const chooseSeeds = ({ choose }: StudyFields, seeds: readonly number[]): readonly number[] =>
  choose?.seeds ?? [Math.max(...seeds) + 1]

/** The models before training: one, or one for each model of an axis, called by its value. */
function basesOf(
  axes: readonly { readonly values: readonly AxisValue[] }[],
  arms: readonly Arm[],
): Arm[] {
  const values = axes.flatMap(({ values }) => values).filter(({ set }) => MODEL in set)
  const models = values.filter(({ set }) => arms.some((arm) => arm.set[MODEL] === set[MODEL]))
  const different = models.filter(
    ({ set }, i) => models.findIndex((other) => other.set[MODEL] === set[MODEL]) === i,
  )
  const [only] = different
  if (different.length < 2)
    return [{ name: BASE, set: only === undefined ? {} : { [MODEL]: only.set[MODEL] } }]
  return different.map(({ label, set }) => ({
    name: `${BASE} ${label}`,
    set: { [MODEL]: set[MODEL] },
  }))
}

function cellsOf(
  fields: StudyFields,
  { arms, bases, seeds, candidates }: Parts & Pick<Design, "seeds" | "candidates">,
): Cell[] {
  const idOf = slugs(arms.map(({ name }) => name))
  const baseId = slugs(bases.map(({ name }) => name))
  const valueId = slugs(candidates.map(({ label }) => label))
  const base = bases.map(
    ({ name, set }): Cell => ({
      id: baseId.get(name)!,
      arm: name,
      stage: "base",
      candidate: null,
      set,
      seed: null,
    }),
  )
  const tried = candidates.flatMap(({ label, set }) =>
    arms.flatMap((arm) =>
      chooseSeeds(fields, seeds).map((seed): Cell => {
        const id = `choose-${idOf.get(arm.name)}-${valueId.get(label)}-${seed}`
        const all = { ...arm.set, ...set }
        return { id, arm: arm.name, stage: "choose", candidate: label, set: all, seed }
      }),
    ),
  )
  const final = seeds.flatMap((seed) =>
    arms.map((arm): Cell => {
      const id = `${idOf.get(arm.name)}-${seed}`
      return { id, arm: arm.name, stage: "final", candidate: null, set: arm.set, seed }
    }),
  )
  return apart([...base, ...tried, ...final])
}

/** An arm may be called as the folder of another's run to choose by is. */
function apart(cells: readonly Cell[]): Cell[] {
  const taken = new Set<string>()
  return cells.map((cell) => {
    const { id, arm, stage, candidate } = cell
    const own = taken.has(id) ? `${id}-${hashOf(JSON.stringify([arm, stage, candidate]))}` : id
    taken.add(own)
    return { ...cell, id: own }
  })
}

interface Parts {
  readonly arms: readonly Arm[]
  readonly bases: readonly Arm[]
}
