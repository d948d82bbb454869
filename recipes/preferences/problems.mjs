/**
 * Arithmetic word problems of one step, each with a worked solution and its answer, as JSONL.
 *
 *     node problems.mjs COUNT SEED [train|validation|test] > problems.jsonl
 *
 * A calculation (its kind and its two numbers) belongs to one of the three sets, whatever the seed:
 * what is asked of a model afterwards was not among what it learnt. Without a set, train.
 */
const COUNT = Number(process.argv[2])
const SEED = Number(process.argv[3])
const SET = process.argv[4] ?? "train"
const USAGE = "usage: node problems.mjs COUNT SEED [train|validation|test]"

const NAMES = ["Anna", "Ben", "Tom", "Dora", "Emily", "Lucy", "Sam", "Hannah", "Ivan", "Julia"]
const THINGS = ["apples", "books", "coins", "pencils", "shells", "stamps", "cards", "marbles"]
const STYLE = "Answer in one short sentence."

/** What is asked with the numbers a and b, how it is solved in one sentence, the answer. */
const KINDS = [
  ({ name, things, a, b }) => ({
    problem: `${name} has ${a} ${things} and buys ${b} more ${things}. How many ${things} does ${name} have now?`,
    solution: `${name} has ${a} + ${b} = ${a + b} ${things} now.`,
    answer: a + b,
  }),
  ({ name, things, a, b }) => ({
    problem: `${name} has ${a + b} ${things} and gives ${a} ${things} to a friend. How many ${things} does ${name} have left?`,
    solution: `${name} has ${a + b} - ${a} = ${b} ${things} left.`,
    answer: b,
  }),
  ({ name, things, a, b }) => ({
    problem: `${name} has ${a} boxes with ${b} ${things} in each box. How many ${things} does ${name} have in total?`,
    solution: `${name} has ${a} * ${b} = ${a * b} ${things} in total.`,
    answer: a * b,
  }),
  ({ name, things, a, b }) => ({
    problem: `${name} shares ${a * b} ${things} equally among ${a} friends. How many ${things} does each friend get?`,
    solution: `Each friend gets ${a * b} / ${a} = ${b} ${things}.`,
    answer: b,
  }),
]

/** Mulberry32: numbers from 0 to below 1. */
function uniformFrom(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let x = Math.imul(state ^ (state >>> 15), state | 1)
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The set of a calculation: 5 of 10 are for training, 2 for choosing, 3 for testing. */
function setOf(kind, a, b) {
  const part = uniformFrom(kind * 10_000 + a * 100 + b)()
  return part < 0.5 ? "train" : part < 0.7 ? "validation" : "test"
}

if (!(COUNT > 0) || !Number.isInteger(SEED) || !["train", "validation", "test"].includes(SET)) {
  console.error(USAGE)
  process.exit(2)
}
const uniform = uniformFrom(SEED)
const whole = (low, high) => low + Math.floor(uniform() * (high - low + 1))
const oneOf = (list) => list[whole(0, list.length - 1)]
const seen = new Set()
while (seen.size < COUNT) {
  const [kind, a, b] = [whole(0, KINDS.length - 1), whole(2, 9), whole(2, 9)]
  const row = KINDS[kind]({ name: oneOf(NAMES), things: oneOf(THINGS), a, b })
  if (setOf(kind, a, b) !== SET || seen.has(row.problem)) continue
  seen.add(row.problem)
  console.log(
    JSON.stringify({ ...row, problem: `${row.problem} ${STYLE}`, answer: `${row.answer}` }),
  )
}
