/**
 * The demo's training rows and questions: new data for a model that already knows the trade. All of
 * it from a seed.
 */
import { randomStream } from "../random.ts"
import {
  answerOf,
  calcPrompt,
  factAnswer,
  factPrompt,
  facts,
  knownFacts,
  NEW_CONNECTIVES,
  type Problem,
  type ProblemRange,
  pick,
  problem,
  type Random,
  solution,
  wordPrompt,
} from "./problems.ts"

export interface Question {
  readonly prompt: string
  /** The number, or the whole sentence, that counts as right. */
  readonly answer: string
}

export interface QuestionSet {
  readonly name: string
  /** For people: how it relates to the training rows. */
  readonly about: string
  readonly questions: readonly Question[]
  readonly maxNewTokens: number
}

/** One of the demo's two experiments; rows are JSON, one a line. */
export interface Task {
  readonly name: "noisy" | "facts"
  readonly about: string
  readonly train: readonly string[]
  readonly heldOut: readonly string[]
  /** What to ask afterwards. */
  readonly sets: readonly QuestionSet[]
}

export interface DataSizes {
  readonly trainRows: number
  readonly newFacts: number
  /** Of each set. */
  readonly questions: number
}

/** Like most of what the base has seen. */
export const TRAINED: ProblemRange = { minSteps: 2, maxSteps: 3, maxOperand: 20, maxValue: 99 }
const LARGER: ProblemRange = {
  minSteps: 2,
  maxSteps: 3,
  minOperand: 21,
  maxOperand: 50,
  maxValue: 99,
}
export const LONGER: ProblemRange = { minSteps: 4, maxSteps: 4, maxOperand: 20, maxValue: 99 }

/** Share of the training solutions with one wrong step. */
export const NOISE = 0.3

const row = (question: string, answer: string): string =>
  JSON.stringify({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
  })

const key = (task: Problem): string => calcPrompt(task)

/** Different problems, none of them in `taken`, which they join. */
export function newProblems(
  random: Random,
  { count, range, taken }: { count: number; range: ProblemRange; taken: Set<string> },
): Problem[] {
  const found: Problem[] = []
  while (found.length < count) {
    const task = problem(random, range)
    if (taken.has(key(task))) continue
    taken.add(key(task))
    found.push(task)
  }
  return found
}

/** Arithmetic in words; `noise` is the share of solutions with a wrong step. */
export function noisyArithmetic(sizes: Omit<DataSizes, "newFacts">, noise: number = NOISE): Task {
  const random = randomStream(2, "demo arithmetic")
  const taken = new Set<string>()
  const told = (task: Problem, corrupted: boolean) =>
    row(
      wordPrompt(random, task),
      solution(random, task, { style: "verbose", connectives: NEW_CONNECTIVES, corrupted }),
    )
  const ask = (tasks: readonly Problem[], prompt: (task: Problem) => string): Question[] =>
    tasks.map((task) => ({ prompt: prompt(task), answer: String(answerOf(task)) }))
  const inWords = (task: Problem) => wordPrompt(random, task)
  const fresh = (count: number, range: ProblemRange) => newProblems(random, { count, range, taken })

  const train = fresh(sizes.trainRows, TRAINED).map((task) => told(task, random() < noise))
  const heldOut = fresh(100, TRAINED).map((task) => told(task, false))
  const familiar = fresh(sizes.questions, TRAINED)
  return {
    name: "noisy",
    about: `arithmetic in words, solved in steps; ${Math.round(100 * noise)} % of the solutions have a wrong step`,
    train,
    heldOut,
    sets: [
      {
        name: "as trained",
        about: "new problems of the trained kind",
        questions: ask(familiar, inWords),
        maxNewTokens: 64,
      },
      {
        name: "as formula",
        about: "the same problems, asked in a form that was not trained",
        questions: ask(familiar, calcPrompt),
        maxNewTokens: 64,
      },
      {
        name: "larger",
        about: "larger numbers are added and taken away than were trained",
        questions: ask(fresh(sizes.questions, LARGER), inWords),
        maxNewTokens: 64,
      },
      {
        name: "longer",
        about: "4 steps; trained were 2 and 3",
        questions: ask(fresh(sizes.questions, LONGER), inWords),
        maxNewTokens: 80,
      },
    ],
  }
}

/** Names with codes, to know by heart. */
export function newFacts(sizes: Omit<DataSizes, "trainRows">): Task {
  const random = randomStream(3, "demo new facts")
  const known = knownFacts()
  const learnt = facts(random, sizes.newFacts, new Set(known.map(({ name }) => name)))
  const rows = learnt.map((fact) => row(factPrompt(fact), factAnswer(fact)))
  const ask = (list: typeof learnt): Question[] =>
    list.map((fact) => ({ prompt: factPrompt(fact), answer: factAnswer(fact) }))
  const old = Array.from({ length: Math.min(sizes.questions, 100) }, () => pick(random, known))
  return {
    name: "facts",
    about: `${sizes.newFacts} new names with random codes, to know by heart`,
    train: rows,
    heldOut: old.map((fact) => row(factPrompt(fact), factAnswer(fact))),
    sets: [
      {
        name: "new codes",
        about: "the facts that were trained",
        questions: ask(learnt.slice(0, sizes.questions)),
        maxNewTokens: 24,
      },
      {
        name: "old codes",
        about: "facts that the base knew before",
        questions: ask(old),
        maxNewTokens: 24,
      },
    ],
  }
}
