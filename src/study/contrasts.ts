/** The comparisons of a study. */
import { type Arm, BASE, type DesignProblem, list, MODEL } from "./arms.ts"
import type { Decoding, StudyFields } from "./study-schema.ts"

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

interface Parts {
  readonly arms: readonly Arm[]
  readonly bases: readonly Arm[]
}

export const decodingText = (decoding: Decoding): string =>
  decoding === "greedy" ? decoding : `T = ${decoding}`

/** Of `base`, the model that the other arm was trained from. */
function withBase(name: string, other: string, { arms, bases }: Parts): string {
  if (name !== BASE || bases.length < 2) return name
  const trained = arms.find((arm) => arm.name === other)
  return bases.find(({ set }) => trained && set[MODEL] === trained.set[MODEL])?.name ?? name
}

/** The comparisons that are named; what is wrong with one is added to `problems`. */
export function contrastsOf(
  fields: StudyFields,
  parts: Parts,
  problems: DesignProblem[],
): Contrast[] {
  const { arms, bases } = parts
  const names = [...bases, ...arms].map(({ name }) => name)
  const isBase = (name: string) => bases.some((one) => one.name === name)
  const evaluations = new Map(fields.evaluations.map((one) => [one.name, one]))
  const losses = new Set(fields.losses.map(({ name }) => name))
  const isNew = comparedOnce()
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
    const found = list(on).flatMap((target): Contrast[] => {
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
    for (const one of found) {
      if (one.a === one.b && one.at === one.bAt) wrong("b", `${one.name}: compares it with itself`)
      else if (!isNew(one)) wrong("on", `${one.name}: these two are compared already`)
    }
    return found
  })
}

/** Whether a comparison is the first of its two sides, whichever is called a: Holm counts each. */
function comparedOnce(): (contrast: Contrast) => boolean {
  const seen = new Set<string>()
  return ({ a, b, on, at, bAt }) => {
    const sides = [JSON.stringify([a, at]), JSON.stringify([b, bAt])].sort()
    const key = JSON.stringify([on, ...sides])
    const isNew = !seen.has(key)
    seen.add(key)
    return isNew
  }
}
