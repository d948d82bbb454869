/** What a study is made of: arms, seeds, the runs that this makes, and the contrasts. */
import { isObject } from "../formats/json.ts"
import type { Decoding, StudyFields } from "./study-schema.ts"

/** Settings by key path. */
export type Settings = Readonly<Record<string, unknown>>

/** One value of an axis, with what tables call it. */
export interface AxisValue {
  readonly label: string
  readonly set: Settings
}

/** What is compared: settings that differ in more than the seed. */
export interface Arm {
  readonly name: string
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

/** A comparison: the mean of a minus the mean of b. */
export interface Contrast {
  readonly name: string
  readonly a: string
  readonly b: string
  /** An evaluation or losses. */
  readonly on: string
  /** null: of losses. */
  readonly at: Decoding | null
  readonly bAt: Decoding | null
}

export interface Design {
  readonly arms: readonly Arm[]
  readonly seeds: readonly number[]
  /** What the choice is among; empty without a choice. */
  readonly candidates: readonly AxisValue[]
  readonly cells: readonly Cell[]
  readonly contrasts: readonly Contrast[]
}

/** What is wrong, and at which key of the file. */
export interface DesignProblem {
  readonly path: readonly PropertyKey[]
  readonly message: string
}

export const SEED = "seed"
export const BASE = "base"
const MODEL = "model"

export const decodingText = (decoding: Decoding): string =>
  decoding === "greedy" ? decoding : `T = ${decoding}`

/** `DFT a=0.5` to `dft-a-0.5`. */
const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9.]+/g, "-")
    .replace(/^-|-$/g, "")

function parametersText(value: Settings): string {
  return Object.entries(value)
    .map(([key, one]) => ` ${key}=${String(one)}`)
    .join("")
}

/** The label of a value, from what it says itself, or from its key; undefined where neither does. */
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

const list = <T>(value: T | readonly T[]): readonly T[] =>
  Array.isArray(value) ? (value as readonly T[]) : [value as T]

/** Makes the runs of a study; what is wrong between keys is listed. */
export function designOf(fields: StudyFields): { design: Design; problems: DesignProblem[] } {
  const problems: DesignProblem[] = []
  const seeds = seedsOf(fields, problems)
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
  for (const key of chosen) {
    if (axes.some((axis) => axis.key === key)) continue
    const names = axes.map((axis) => axis.key).join(", ") || "none but seed"
    problems.push({ path: ["choose", "axes"], message: `${key} is no axis; axes are ${names}` })
  }
  const fixed = axes.filter(({ key }) => !chosen.includes(key))
  const arms = product(fixed.map(({ values }) => values)).map(
    ({ label, set }): Arm => ({ name: label || "run", set }),
  )
  const candidates =
    chosen.length === 0
      ? []
      : product(axes.filter(({ key }) => chosen.includes(key)).map(({ values }) => values))
  problems.push(...repeated(arms.map(({ name }) => name)))
  const bases = fields.base === false ? [] : basesOf(fixed, arms)
  const cells = cellsOf(fields, { arms, bases, seeds, candidates })
  const contrasts = contrastsOf(fields, { arms, bases }, problems)
  return { design: { arms, seeds, candidates, cells, contrasts }, problems }
}

function repeated(names: readonly string[]): DesignProblem[] {
  const twice = names.find((name, i) => names.indexOf(name) !== i)
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

function seedsOf({ axes }: StudyFields, problems: DesignProblem[]): number[] {
  const values = axes[SEED] ?? [0]
  const seeds = values.filter((value): value is number => Number.isSafeInteger(value))
  if (seeds.length !== values.length || new Set(seeds).size !== seeds.length) {
    problems.push({ path: ["axes", SEED], message: "expected different whole numbers" })
  }
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
  const base = bases.map(
    ({ name, set }): Cell => ({
      id: slug(name),
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
        const id = `choose-${slug(arm.name)}-${slug(label)}-${seed}`
        const all = { ...arm.set, ...set }
        return { id, arm: arm.name, stage: "choose", candidate: label, set: all, seed }
      }),
    ),
  )
  const final = seeds.flatMap((seed) =>
    arms.map((arm): Cell => {
      const id = `${slug(arm.name)}-${seed}`
      return { id, arm: arm.name, stage: "final", candidate: null, set: arm.set, seed }
    }),
  )
  return [...base, ...tried, ...final]
}

interface Parts {
  readonly arms: readonly Arm[]
  readonly bases: readonly Arm[]
}

/** Of `base`, the model that the other arm was trained from. */
function withBase(name: string, other: string, { arms, bases }: Parts): string {
  if (name !== BASE || bases.length < 2) return name
  const trained = arms.find((arm) => arm.name === other)
  return bases.find(({ set }) => trained && set[MODEL] === trained.set[MODEL])?.name ?? name
}

function contrastsOf(fields: StudyFields, parts: Parts, problems: DesignProblem[]): Contrast[] {
  const { arms, bases } = parts
  const names = [...bases, ...arms].map(({ name }) => name)
  const isBase = (name: string) => bases.some((one) => one.name === name)
  const evaluations = new Map(fields.evaluations.map((one) => [one.name, one]))
  const losses = new Set(fields.losses.map(({ name }) => name))
  return fields.contrasts.flatMap(({ a: left, b: right, on, at, b_at }, i) => {
    const a = withBase(left, right, parts)
    const b = withBase(right, left, parts)
    const wrong = (key: string, message: string) =>
      problems.push({ path: ["contrasts", i, key], message })
    for (const [key, arm] of [
      ["a", a],
      ["b", b],
    ] as const) {
      if (arm === BASE && fields.base === false) wrong(key, "base is not asked: base is false")
      else if (!names.includes(arm)) wrong(key, `no arm "${arm}"; arms are ${names.join(", ")}`)
    }
    return list(on).flatMap((target): Contrast[] => {
      const bare = { a, b, on: target }
      if (losses.has(target)) {
        return [{ ...bare, name: `${a} − ${b}, ${target}, NLL`, at: null, bAt: null }]
      }
      const evaluation = evaluations.get(target)
      if (evaluation === undefined) {
        const known = [...evaluations.keys(), ...losses].join(", ")
        wrong("on", `no evaluation or losses "${target}"; there are ${known}`)
        return []
      }
      return list(at ?? evaluation.decodings).map((decoding) => {
        const other = b_at ?? decoding
        const has = (arm: string, one: Decoding) =>
          evaluation.decodings.includes(one) ||
          (isBase(arm) && fields.base !== false && fields.base.temperatures.includes(one as number))
        if (!has(a, decoding)) wrong("at", `${a} is not asked ${target} at ${decoding}`)
        if (!has(b, other)) wrong("b_at", `${b} is not asked ${target} at ${other}`)
        const control = other === decoding ? "" : ` (${b} at ${decodingText(other)})`
        const name = `${a} − ${b}, ${target}, ${decodingText(decoding)}${control}`
        return { ...bare, name, at: decoding, bAt: other }
      })
    })
  })
}
