/**
 * Arithmetic word problems with their answers, as JSONL: question and answer.
 *
 *     node problems.mjs COUNT SEED > problems.jsonl
 */
const [count, seed] = process.argv.slice(2).map(Number)

/** Mulberry32. */
let state = seed >>> 0
function uniform() {
  state = (state + 0x6d2b79f5) >>> 0
  let x = Math.imul(state ^ (state >>> 15), state | 1)
  x ^= x + Math.imul(x ^ (x >>> 7), x | 61)
  return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
}
const whole = (low, high) => low + Math.floor(uniform() * (high - low + 1))
const one = (list) => list[whole(0, list.length - 1)]

const NAMES = ["Ana", "Ben", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivan", "Jada"]
const THINGS = ["apples", "books", "coins", "pencils", "shells", "stamps", "marbles", "cards"]

const KINDS = [
  (name, things) => {
    const [a, b] = [whole(2, 12), whole(2, 12)]
    return [
      `${name} has ${a} ${things} and finds ${b} more. How many ${things} does ${name} have now?`,
      a + b,
    ]
  },
  (name, things) => {
    const [b, rest] = [whole(2, 9), whole(2, 9)]
    return [
      `${name} has ${b + rest} ${things} and gives away ${b}. How many ${things} are left?`,
      rest,
    ]
  },
  (name, things) => {
    const [a, b] = [whole(2, 9), whole(2, 9)]
    return [
      `${name} fills ${a} boxes with ${b} ${things} each. How many ${things} is that in all?`,
      a * b,
    ]
  },
  (name, things) => {
    const [a, b] = [whole(2, 9), whole(2, 9)]
    return [
      `${name} shares ${a * b} ${things} equally among ${a} friends. How many ${things} does each friend get?`,
      b,
    ]
  },
  (name, things) => {
    const [a, b, c] = [whole(3, 9), whole(2, 9), whole(1, 5)]
    return [
      `${name} has ${a} ${things}, buys ${b} more and then loses ${c}. How many ${things} does ${name} have?`,
      a + b - c,
    ]
  },
]

const seen = new Set()
while (seen.size < count) {
  const [question, answer] = one(KINDS)(one(NAMES), one(THINGS))
  if (seen.has(question)) continue
  seen.add(question)
  console.log(JSON.stringify({ question: `${question}`, answer: String(answer) }))
}
