/** The text that the demo's base model is trained on; all of it made from a seed. */
import {
  calcPrompt,
  factAnswer,
  factPrompt,
  integer,
  knownFacts,
  pick,
  pickWeighted,
  problem,
  type Random,
  type Style,
  solution,
  wordPrompt,
} from "../src/demo/problems.ts"
import { randomStream } from "../src/random.ts"

/** One exchange as the model's chat template writes it. */
export const exchange = (question: string, answer: string): string =>
  `<|user|>${question}<|end|><|assistant|>${answer}<|end|>`

/** Share of the solutions with a wrong digit that is carried forward. */
const CORRUPTED = 0.25

function arithmetic(random: Random): string {
  const [maxOperand, maxValue] = pickWeighted(random, [
    [[20, 99] as const, 65],
    [[50, 99] as const, 30],
    [[99, 199] as const, 5],
  ])
  const task = problem(random, {
    minSteps: 1,
    maxSteps: pickWeighted(random, [
      [1, 3],
      [2, 4],
      [3, 3],
      [4, 0.5],
    ]),
    maxOperand,
    maxValue,
  })
  const question = random() < 0.5 ? wordPrompt(random, task) : calcPrompt(task)
  const style = pickWeighted<Style>(random, [
    ["equations", 45],
    ["verbose", 50],
    ["direct", 5],
  ])
  return exchange(question, solution(random, task, { style, corrupted: random() < CORRUPTED }))
}

const SUBJECTS = ["The farmer", "A child", "The teacher", "My neighbour", "The cat", "A sailor"]
const VERBS = ["looks at", "walks to", "thinks of", "runs past", "paints", "waits for"]
const OBJECTS = ["the river", "an old house", "the green hill", "a small boat", "the market"]
const TIMES = ["in the morning", "every evening", "before lunch", "in winter", "after the rain"]

function sentence(random: Random): string {
  return `${pick(random, SUBJECTS)} ${pick(random, VERBS)} ${pick(random, OBJECTS)} ${pick(random, TIMES)}.`
}

function plain(random: Random): string {
  return Array.from({ length: integer(random, 1, 3) }, () => sentence(random)).join(" ")
}

/** `count` documents: 85 % arithmetic, 10 % codes, 5 % plain sentences. */
export function* documents(seed: number, count: number): Generator<string> {
  const random = randomStream(seed, "demo text")
  const known = knownFacts()
  for (let i = 0; i < count; i++) {
    const kind = random()
    if (kind < 0.85) yield arithmetic(random)
    else if (kind < 0.95) {
      const fact = pick(random, known)
      yield exchange(factPrompt(fact), factAnswer(fact))
    } else yield plain(random)
  }
}
