import type { Answer } from "./answer.ts"
import type { Judgement } from "./scalar.ts"

export interface Rules {
  /**
   * Order of bare lists, case of words, rounding of decimals, percent against fraction: overlooked.
   */
  readonly lenient: boolean
}

/** Whether two answers are the same; handed down, so that parts can be compared as wholes are. */
export type Compare = (gold: Answer, answer: Answer, rules: Rules) => Judgement

export const yes = (reason: string): Judgement => ({ equal: true, reason })
export const no = (reason: string): Judgement => ({ equal: false, reason })
export const unknown = (reason: string): Judgement => ({ equal: undefined, reason })

/** All true: equal. One false: different. Else undecided. */
export function every(judgements: readonly (() => Judgement)[], how: string): Judgement {
  let undecided: Judgement | undefined
  for (const judge of judgements) {
    const judgement = judge()
    if (judgement.equal === false) return judgement
    if (judgement.equal === undefined) undecided = judgement
  }
  return undecided ?? yes(`equal ${how}`)
}

const NAMES: { readonly [Kind in Answer["kind"]]: string } = {
  text: "words",
  scalar: "one value",
  list: "several values",
  tuple: "a tuple",
  set: "a set",
  interval: "an interval",
  union: "a union",
  matrix: "a matrix",
  relation: "a relation",
  congruence: "a congruence",
  based: "a number in another base",
  unreadable: "something unreadable",
}

export const unlike = (gold: Answer, answer: Answer): Judgement =>
  no(`expected ${NAMES[gold.kind]}, got ${NAMES[answer.kind]}`)
export const quote = ({ written }: Answer): string => JSON.stringify(written.slice(0, 60))
export const squeeze = (text: string): string => text.replace(/\s+/g, "")
