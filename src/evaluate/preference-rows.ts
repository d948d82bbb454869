import { InputError } from "../errors.ts"
import { isObject, type JsonObject } from "../formats/json.ts"
import { randomStream } from "../random.ts"
import type { GradedMark } from "./selection.ts"

/** Rows of preference and of labels from graded samples. */

export const PAIRINGS = ["best", "all"] as const
export type Pairing = (typeof PAIRINGS)[number]

export interface PairOptions {
  /**
   * `best`: one pair a prompt, the best against the worst. `all`: every better against every worse.
   */
  readonly pairing: Pairing
  /** At most k pairs of each prompt, drawn with the seed. */
  readonly maxPerPrompt: number | undefined
  readonly seed: number
}

/** Indices of rows: the better sample and the worse one of one prompt. */
export type Pair = readonly [chosen: number, rejected: number]

/** Where several are as good, the seed draws. */
function shuffled<T>(values: readonly T[], uniform: () => number): T[] {
  return values
    .map((value) => ({ value, at: uniform() }))
    .sort((a, b) => a.at - b.at)
    .map(({ value }) => value)
}

/**
 * Pairs of a better and a worse sample of one prompt, in the order of the prompts. Repeated
 * completions of a prompt count once; undecided samples and those without a completion are in none.
 */
export function choosePairs(marks: readonly GradedMark[], options: PairOptions): Pair[] {
  const { pairing, maxPerPrompt, seed } = options
  const pairs: Pair[] = []
  for (const [prompt, samples] of byPrompt(marks)) {
    const uniform = randomStream(seed, `pairs ${prompt}`)
    const order = shuffled(samples, uniform)
    const score = (i: number): number => marks[i]!.score
    if (pairing === "best") {
      const [best, worst] = [extreme(order, score, 1), extreme(order, score, -1)]
      if (best !== undefined && worst !== undefined && score(best) > score(worst)) {
        pairs.push([best, worst])
      }
      continue
    }
    const all = order.flatMap((chosen) =>
      order.filter((other) => score(chosen) > score(other)).map((other): Pair => [chosen, other]),
    )
    pairs.push(...shuffled(all, uniform).slice(0, maxPerPrompt))
  }
  return pairs
}

function extreme(
  order: readonly number[],
  score: (i: number) => number,
  sign: 1 | -1,
): number | undefined {
  let found: number | undefined
  for (const i of order) if (found === undefined || sign * score(i) > sign * score(found)) found = i
  return found
}

/** Usable samples of each prompt, repeats left out, in the order of the file. */
function byPrompt(marks: readonly GradedMark[]): Map<string, number[]> {
  const groups = new Map<string, number[]>()
  const seen = new Set<string>()
  for (const [i, { prompt, completion, usable }] of marks.entries()) {
    if (!usable || seen.has(prompt + completion)) continue
    seen.add(prompt + completion)
    const group = groups.get(prompt)
    if (group) group.push(i)
    else groups.set(prompt, [i])
  }
  return groups
}

export interface LabelOptions {
  /** At most k rows of each prompt, drawn with the seed. */
  readonly maxPerPrompt: number | undefined
  /** A prompt's repeated completions once. */
  readonly dedupe: boolean
  readonly seed: number
}

/** Rows that get a label: usable ones, at most k of a prompt, repeats left out where asked. */
export function chooseLabelled(
  marks: readonly GradedMark[],
  { maxPerPrompt, dedupe, seed }: LabelOptions,
): ReadonlySet<number> {
  const kept = new Set<number>()
  const groups = new Map<string, number[]>()
  const seen = new Set<string>()
  for (const [i, { prompt, completion, usable }] of marks.entries()) {
    if (!usable || (dedupe && seen.has(prompt + completion))) continue
    seen.add(prompt + completion)
    groups.set(prompt, [...(groups.get(prompt) ?? []), i])
  }
  for (const [prompt, samples] of groups) {
    const order =
      maxPerPrompt === undefined || samples.length <= maxPerPrompt
        ? samples
        : shuffled(samples, randomStream(seed, `labels ${prompt}`)).slice(0, maxPerPrompt)
    for (const i of order) kept.add(i)
  }
  return kept
}

/** A prompt and an answer to it, both texts or both messages. */
interface Asked {
  readonly prompt: string | readonly object[]
  readonly answer: string | readonly object[]
}

const QUESTIONS = ["problem", "question"] as const

/**
 * How a sample was asked and answered: a text prompt stays a text, messages stay messages. A
 * question is a user's message; where its samples were asked as plain text, it is the question and
 * one newline.
 *
 * @throws InputError naming the row
 */
export function askedAndAnswered(row: JsonObject, where: string, plainText: boolean): Asked {
  const completion = String(row.completion)
  const said = [{ role: "assistant", content: completion }]
  for (const key of ["prompt", "messages"] as const) {
    const value = row[key]
    if (typeof value === "string") return { prompt: value, answer: completion }
    if (Array.isArray(value)) return { prompt: withoutAnswer(value), answer: said }
  }
  const question = QUESTIONS.map((key) => row[key]).find((value) => typeof value === "string")
  if (typeof question !== "string") {
    const came = Object.keys(row).slice(0, 8).join(", ")
    throw new InputError(
      `${where}: expected the sample's prompt under prompt, messages, problem or question; the row has ${came}`,
    )
  }
  if (plainText) return { prompt: `${question}\n`, answer: completion }
  const system = typeof row.system === "string" ? [{ role: "system", content: row.system }] : []
  return { prompt: [...system, { role: "user", content: question }], answer: said }
}

/** Training rows hold an answer too: what was sampled takes its place. */
function withoutAnswer(messages: readonly unknown[]): readonly object[] {
  const turns = messages.filter(isObject)
  let end = turns.length
  while (end > 0 && turns[end - 1]!.role === "assistant") end--
  return turns.slice(0, end)
}
