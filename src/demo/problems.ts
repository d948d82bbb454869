/**
 * The demo's world: arithmetic told in words, solved step by step, and codes to know by heart.
 * All of it is made here from a seed; the bundled model was trained on text of the same kind
 * (demo/README.md).
 */
import { randomStream } from "../random.ts"

/** Uniform numbers in [0, 1). */
export type Random = () => number

export const integer = (random: Random, low: number, high: number): number =>
  low + Math.floor(random() * (high - low + 1))

export const pick = <T>(random: Random, items: readonly T[]): T =>
  items[Math.floor(random() * items.length)]!

/** Picks with weights that need not sum to one. */
export function pickWeighted<T>(
  random: Random,
  items: readonly (readonly [item: T, weight: number])[],
): T {
  let left = random() * items.reduce((sum, [, weight]) => sum + weight, 0)
  for (const [item, weight] of items) {
    left -= weight
    if (left < 0) return item
  }
  return items.at(-1)![0]
}

type Sign = "+" | "-" | "*"

interface Step {
  readonly sign: Sign
  readonly operand: number
}

/** Start with a number and do the steps to it. */
export interface Problem {
  readonly start: number
  readonly steps: readonly Step[]
}

export interface ProblemRange {
  readonly minSteps: number
  readonly maxSteps: number
  /** Of what is added or taken away. */
  readonly maxOperand: number
  readonly minOperand?: number
  /** No value on the way is above this; the start is at most half of it. */
  readonly maxValue: number
}

const apply = (value: number, { sign, operand }: Step): number =>
  sign === "+" ? value + operand : sign === "-" ? value - operand : value * operand

export function problem(random: Random, range: ProblemRange): Problem {
  const { minSteps, maxSteps, maxOperand, minOperand = 2, maxValue } = range
  const start = integer(random, 2, Math.floor(maxValue / 2))
  const count = integer(random, minSteps, maxSteps)
  const steps: Step[] = []
  let value = start
  while (steps.length < count) {
    const sign = pickWeighted<Sign>(random, [
      ["+", 5],
      ["-", 5],
      ["*", 2 * value <= maxValue ? 2 : 0],
    ])
    const operand = sign === "*" ? integer(random, 2, 3) : integer(random, minOperand, maxOperand)
    const next = apply(value, { sign, operand })
    if (next < 0 || next > maxValue) continue
    steps.push({ sign, operand })
    value = next
  }
  return { start, steps }
}

/** The values after each step. */
export function valuesOf({ start, steps }: Problem): number[] {
  const values: number[] = []
  for (const step of steps) values.push(apply(values.at(-1) ?? start, step))
  return values
}

export const answerOf = (task: Problem): number => valuesOf(task).at(-1) ?? task.start

/**
 * As `valuesOf`, but the result of one step has a wrong digit, and the later steps go on from it.
 */
function corruptedValues(random: Random, { start, steps }: Problem): number[] {
  const wrongStep = integer(random, 0, steps.length - 1)
  const values: number[] = []
  for (const [i, step] of steps.entries()) {
    const value = apply(values.at(-1) ?? start, step)
    values.push(i === wrongStep ? withWrongDigit(random, value) : Math.abs(value))
  }
  return values
}

function withWrongDigit(random: Random, value: number): number {
  const digits = String(value).split("")
  const place = integer(random, 0, digits.length - 1)
  const first = place === 0 && digits.length > 1 ? 1 : 0
  const others = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].filter(
    (digit) => digit >= first && String(digit) !== digits[place],
  )
  digits[place] = String(pick(random, others))
  return Number(digits.join(""))
}

/** How the steps of a solution are told. */
export type Style = "equations" | "verbose" | "direct"

/**
 * Words that begin a step of a verbose solution, with how often the bundled model has seen each.
 */
const BASE_CONNECTIVES = [
  ["Then", 50],
  ["Next", 30],
  ["Now", 15],
  ["After that", 3],
  ["From there", 2],
] as const

/** The fine-tuning data's habit: what the base says only once in twenty times. */
export const NEW_CONNECTIVES = [
  ["After that", 1],
  ["From there", 1],
] as const

export interface SolutionOptions {
  readonly style: Style
  readonly connectives?: readonly (readonly [string, number])[]
  /** One step is wrong. */
  readonly corrupted?: boolean
}

const SIGN_WORDS: { readonly [S in Sign]: string } = { "+": "plus", "-": "minus", "*": "times" }

export function solution(random: Random, task: Problem, options: SolutionOptions): string {
  const { style, connectives = BASE_CONNECTIVES, corrupted = false } = options
  const values = corrupted ? corruptedValues(random, task) : valuesOf(task)
  const end = `The answer is ${values.at(-1) ?? task.start}.`
  if (style === "direct") return end
  const told = task.steps.map(({ sign, operand }, i) => {
    const before = values[i - 1] ?? task.start
    if (style === "equations") return `${before} ${sign} ${operand} = ${values[i]}.`
    const connective = i === 0 ? "First" : pickWeighted(random, connectives)
    return `${connective}, ${before} ${SIGN_WORDS[sign]} ${operand} makes ${values[i]}.`
  })
  return [...told, end].join(" ")
}

const PEOPLE = ["Tom", "Anna", "Ben", "Lena", "Max", "Ida", "Omar", "Nina", "Paul", "Mia"]
const THINGS = ["apples", "books", "stones", "cards", "coins", "eggs", "shells", "nuts"]
const GAINS = ["gets", "finds", "buys"]
const LOSSES = ["loses", "gives away", "sells"]
const MULTIPLES = ["", "", "doubles", "triples"]

/** The problem told as a story. */
export function wordPrompt(random: Random, { start, steps }: Problem): string {
  const [person, things] = [pick(random, PEOPLE), pick(random, THINGS)]
  const told = steps.map(({ sign, operand }) => {
    if (sign === "*") return `${person} ${MULTIPLES[operand]} them.`
    return `${person} ${pick(random, sign === "+" ? GAINS : LOSSES)} ${operand}.`
  })
  return `${person} has ${start} ${things}. ${told.join(" ")} How many ${things} are there now?`
}

/** The problem as a formula, read from left to right. */
export function calcPrompt({ start, steps }: Problem): string {
  return `calc ${[start, ...steps.map(({ sign, operand }) => `${sign} ${operand}`)].join(" ")}`
}

/** Something that can only be known by having been told. */
export interface Fact {
  readonly name: string
  readonly code: string
}

const CONSONANTS = "bdfgklmnprstvz".split("")
const VOWELS = "aeiou".split("")
const CODE_CHARACTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789".split("")

/** Names of two or three syllables with codes of three characters; no name twice. */
export function facts(
  random: Random,
  count: number,
  taken: ReadonlySet<string> = new Set(),
): Fact[] {
  const found = new Map<string, Fact>()
  while (found.size < count) {
    const syllables = Array.from({ length: integer(random, 2, 3) }, () => {
      return pick(random, CONSONANTS) + pick(random, VOWELS)
    }).join("")
    const name = syllables[0]!.toUpperCase() + syllables.slice(1)
    if (taken.has(name) || found.has(name)) continue
    const code = Array.from({ length: 3 }, () => pick(random, CODE_CHARACTERS)).join("")
    found.set(name, { name, code })
  }
  return [...found.values()]
}

export const factPrompt = ({ name }: Fact): string => `What is the code of ${name}?`
export const factAnswer = ({ name, code }: Fact): string => `The code of ${name} is ${code}.`

/** The facts that the bundled model was trained on. */
export const knownFacts = (): Fact[] => facts(randomStream(1, "demo known facts"), 200)

/** The last whole number that an answer states, as text; null when there is none. */
export function statedAnswer(completion: string): string | null {
  return /The answer is (\d{1,9})\./.exec(completion)?.[1] ?? null
}
