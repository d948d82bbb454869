import { type Answer, type RelationOperator, symbolsOf } from "./answer.ts"
import { type Expression, integer, renameSymbol, subtract } from "./expression.ts"
import { compareScalars, constantRatio, type Judgement } from "./scalar.ts"
import { unitsConflict } from "./units.ts"

export interface Rules {
  /** Order of bare lists, case of words, rounding of decimals, percent against fraction: overlooked. */
  readonly lenient: boolean
}

const yes = (reason: string): Judgement => ({ equal: true, reason })
const no = (reason: string): Judgement => ({ equal: false, reason })
const unknown = (reason: string): Judgement => ({ equal: undefined, reason })

/** Whether two answers are the same. `gold` and `answer` are alike but for which one is rounded. */
export function compareAnswers(gold: Answer, answer: Answer, rules: Rules): Judgement {
  if (sameWriting(gold, answer)) return yes("written the same")
  const choice = compareChoices(gold, answer)
  if (choice) return choice
  if (gold.kind === "text" || answer.kind === "text") return compareWords(gold, answer, rules)
  if (gold.kind === "unreadable" || answer.kind === "unreadable") {
    return unknown(`could not read ${quote(gold.kind === "unreadable" ? gold : answer)}`)
  }
  if (gold.kind === "relation" && answer.kind === "relation") {
    return compareRelations(gold, answer, rules)
  }
  const [a, b] = [withoutName(gold), withoutName(answer)]
  if (a !== gold || b !== answer) return compareAnswers(a, b, rules)
  if (gold.kind === "relation" || answer.kind === "relation") {
    return no("one is an equation or inequality, the other is not")
  }
  return compareValues(gold, answer, rules)
}

type Valued = Exclude<Answer, { kind: "text" | "unreadable" | "relation" }>

function compareValues(gold: Valued, answer: Valued, rules: Rules): Judgement {
  if (gold.kind === "scalar" && answer.kind === "scalar") return compareNumbers(gold, answer, rules)
  if (gold.kind === "matrix" || answer.kind === "matrix")
    return compareMatrices(gold, answer, rules)
  const [a, b] = [asInterval(gold, answer), asInterval(answer, gold)]
  if (a.kind === "interval" && b.kind === "interval") return compareIntervals(a, b, rules)
  if (gold.kind === "union" && answer.kind === "union") {
    return compareSets(gold.items, answer.items, rules, "unions")
  }
  if ("items" in gold && "items" in answer) return compareCollections(gold, answer, rules)
  const [one, many] = "items" in gold ? [answer, gold] : [gold, answer]
  if ("items" in many && many.items.length === 1 && many.kind !== "tuple") {
    return compareAnswers(many.items[0]!, one, rules)
  }
  return no(`expected ${named(gold)}, got ${named(answer)}`)
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
  unreadable: "something unreadable",
}
const named = (answer: Answer): string => NAMES[answer.kind]
const quote = ({ written }: Answer): string => JSON.stringify(written.slice(0, 60))

const squeeze = (text: string): string => text.replace(/\s+/g, "")
const sameWriting = (a: Answer, b: Answer): boolean =>
  squeeze(a.written) === squeeze(b.written) && squeeze(a.written) !== ""

/** A letter of a multiple choice, alone or before its text: `C`, `(C)`, `C. x = 42`. */
function compareChoices(gold: Answer, answer: Answer): Judgement | undefined {
  const [a, b] = [choiceOf(gold), choiceOf(answer)]
  if (!a || !b || (!a.alone && !b.alone)) return undefined
  if (
    a.alone &&
    b.alone &&
    (gold.kind !== "text" || answer.kind !== "text") &&
    a.letter !== b.letter
  ) {
    return undefined // perhaps variables
  }
  return a.letter === b.letter ? yes("the same choice") : no("another choice")
}

function choiceOf({ written }: Answer): { letter: string; alone: boolean } | undefined {
  const text = written
    .replace(/\\(?:text|textbf|textrm|mathrm|mathbf)\s*\{([^{}]*)\}/g, "$1")
    .trim()
  const alone = /^\(?([A-J])\)?$/.exec(text)
  if (alone) return { letter: alone[1]!, alone: true }
  const labelled = /^(?:\(([A-J])\)|([A-J])[.):])\s*\S/.exec(text)
  return labelled ? { letter: (labelled[1] ?? labelled[2])!, alone: false } : undefined
}

const DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
const NUMBER_WORDS: readonly string[] =
  "zero one two three four five six seven eight nine ten eleven twelve".split(" ")

function compareWords(gold: Answer, answer: Answer, { lenient }: Rules): Judgement {
  const [a, b] = [gold, answer].map((side) => wordsOf(side, lenient)) as [string, string]
  if (a === b && a !== "") return yes("the same words")
  return no("different words")
}

function wordsOf(answer: Answer, lenient: boolean): string {
  const text = answer.kind === "text" ? answer.words : answer.written
  const words = text
    .replace(/[.,;:!?'"()\\{}$]/g, " ")
    .replace(/\s+/g, " ")
    .trim()
  if (!lenient) return words
  const folded = words.toLowerCase().replace(/^(?:the|a|an) /, "")
  const day = folded.length >= 3 ? DAYS.find((name) => name.startsWith(folded)) : undefined
  const number = NUMBER_WORDS.indexOf(folded)
  return day ?? (number >= 0 ? String(number) : folded)
}

type Scalar = Extract<Answer, { kind: "scalar" }>

function compareNumbers(gold: Scalar, answer: Scalar, rules: Rules): Judgement {
  if (unitsConflict(gold.unit, answer.unit)) {
    return no(`different units: ${gold.unit} and ${answer.unit}`)
  }
  const plain = compareScalars(gold.value, answer.value, rules)
  if (plain.equal || gold.percent === answer.percent || !rules.lenient) return plain
  const hundredth = (side: Scalar): Expression =>
    side.percent
      ? { op: "multiply", args: [side.value, { op: "power", args: [integer(100), integer(-1)] }] }
      : side.value
  const scaled = compareScalars(hundredth(gold), hundredth(answer), rules)
  return scaled.equal ? yes(`percent as a fraction: ${scaled.reason}`) : plain
}

function compareMatrices(gold: Valued, answer: Valued, rules: Rules): Judgement {
  const [a, b] = [rowsOf(gold, rules), rowsOf(answer, rules)]
  if (!a || !b) return no(`expected ${named(gold)}, got ${named(answer)}`)
  if (a.length !== b.length || a[0]!.length !== b[0]!.length) return no("matrices of other shapes")
  return every(
    a.flatMap((row, i) => row.map((cell, j) => () => compareScalars(cell, b[i]![j]!, rules))),
    "entry by entry",
  )
}

/** A matrix's rows; leniently, a tuple is a column. */
function rowsOf(
  answer: Valued,
  { lenient }: Rules,
): readonly (readonly Expression[])[] | undefined {
  if (answer.kind === "matrix") return answer.rows
  if (!lenient || answer.kind !== "tuple") return undefined
  const cells = answer.items.map((item) => (item.kind === "scalar" ? item.value : undefined))
  return cells.some((cell) => cell === undefined) ? undefined : cells.map((cell) => [cell!])
}

/** `(0, 1)` beside an interval is an open interval. */
function asInterval(answer: Valued, other: Valued): Valued {
  if (other.kind !== "interval" || answer.kind !== "tuple" || answer.items.length !== 2)
    return answer
  const ends = [answer.items[0]!, answer.items[1]!] as const
  return { kind: "interval", ends, open: [true, true], written: answer.written }
}

type Interval = Extract<Answer, { kind: "interval" }>

function compareIntervals(gold: Interval, answer: Interval, rules: Rules): Judgement {
  const atInfinity = (end: Answer): boolean => /^[+-]?\\infty$/.test(squeeze(end.written))
  const openness = [0, 1].every(
    (i) => gold.open[i] === answer.open[i] || (rules.lenient && atInfinity(gold.ends[i]!)),
  )
  if (!openness) return no("an end of the interval is open in one, closed in the other")
  return every(
    [0, 1].map((i) => () => compareAnswers(gold.ends[i]!, answer.ends[i]!, rules)),
    "end by end",
  )
}

type Collection = Extract<Answer, { items: readonly Answer[] }>

function compareCollections(gold: Collection, answer: Collection, rules: Rules): Judgement {
  const [a, b] = alignNames(gold.items, answer.items)
  const ordered = gold.kind === "tuple" || answer.kind === "tuple"
  const mixed = gold.kind !== answer.kind
  if (mixed && (ordered || !rules.lenient)) {
    return no(`expected ${named(gold)}, got ${named(answer)}`)
  }
  const unordered = gold.kind === "set" || gold.kind === "union" || (rules.lenient && !ordered)
  if (unordered) return compareSets(a, b, rules, "in any order")
  if (a.length !== b.length) return no(`expected ${a.length} values, got ${b.length}`)
  return every(
    a.map((item, i) => () => compareAnswers(item, b[i]!, rules)),
    "one by one",
  )
}

/** `x = 1, 2` against `1, 2`: a name on one side only is dropped. */
function alignNames(
  a: readonly Answer[],
  b: readonly Answer[],
): [readonly Answer[], readonly Answer[]] {
  const named = (items: readonly Answer[]): boolean =>
    items.length > 0 && items.every(({ kind }) => kind === "relation")
  return named(a) && named(b) ? [a, b] : [a.map(withoutName), b.map(withoutName)]
}

/** Each of one side matched with one of the other; sides are at most 64 long. */
function compareSets(
  gold: readonly Answer[],
  answer: readonly Answer[],
  rules: Rules,
  how: string,
): Judgement {
  const [a, b] = [withoutRepeats(gold), withoutRepeats(answer)]
  if (a.length !== b.length) return no(`expected ${a.length} values, got ${b.length}`)
  const free = [...b]
  for (const item of a) {
    const judged = free.map((other) => compareAnswers(item, other, rules))
    const match = judged.findIndex(({ equal }) => equal)
    if (match < 0) {
      return judged.some(({ equal }) => equal === undefined)
        ? unknown(`could not decide whether ${quote(item)} is among the values`)
        : no(`no value equals ${quote(item)}`)
    }
    free.splice(match, 1)
  }
  return yes(`all ${a.length} values, ${how}`)
}

const withoutRepeats = (items: readonly Answer[]): readonly Answer[] => [
  ...new Map(items.map((item) => [squeeze(item.written), item])).values(),
]

type Relation = Extract<Answer, { kind: "relation" }>

const isEquation = ({ operators }: Relation): boolean => operators.every((op) => op === "=")

/** `x = 5`, `f(x) = 5`, `|AB| = 5`, `x \in S`: what the name stands for. Sums are not names. */
function withoutName(answer: Answer): Answer {
  if (answer.kind === "list") {
    const [first, ...rest] = answer.items
    if (first?.kind !== "relation" || rest.some(({ kind }) => kind === "relation")) return answer
    return { ...answer, items: [withoutName(first), ...rest] }
  }
  if (answer.kind !== "relation") return answer
  const last = answer.sides.at(-1)!
  const first = answer.sides[0]!
  if (answer.operators.length === 1 && answer.operators[0] === "\\in") return last
  if (!isEquation(answer)) return inequalityInterval(answer) ?? answer
  return isName(first) || symbolsOf(first).size === 0 ? last : answer
}

const NAME_WORDS = /^(?:\\(?:text|mathrm|textbf)\s*\{[^{}]*\}|[A-Za-z]+)(?:\s*\([^()]*\))?$/

function isName(side: Answer): boolean {
  if (side.kind === "tuple") return side.items.every(isName)
  if (side.kind === "text" || side.kind === "unreadable") return !/[+]/.test(side.written)
  if (side.kind !== "scalar") return false
  return NAME_WORDS.test(side.written) || isNameExpression(side.value)
}

/** A symbol, a function of something, a measure of a segment, a ratio of names; never a sum. */
function isNameExpression(x: Expression): boolean {
  if (x.op === "symbol") return true
  if (x.op === "call") return true
  if (x.op === "power") return isNameExpression(x.args[0])
  return (
    x.op === "multiply" &&
    x.args.some((arg) => arg.op !== "number") &&
    x.args.every((arg, i) => arg.op !== "number" && (isNameExpression(arg) || i > 0))
  )
}

/** `x \ge 5`, `0 < x < 1` (and the other way round) as an interval of what stands in between. */
function inequalityInterval({ sides, operators, written }: Relation): Answer | undefined {
  const up = operators.every((op) => op === "<" || op === "\\le")
  const down = operators.every((op) => op === ">" || op === "\\ge")
  if (!up && !down) return undefined
  const [ascending, ops] = up ? [sides, operators] : [sides.toReversed(), operators.toReversed()]
  const opens = ops.map((op) => op === "<" || op === ">")
  const constant = (side: Answer): boolean => side.kind === "scalar" && symbolsOf(side).size === 0
  if (ascending.length === 3 && isName(ascending[1]!)) {
    return interval(ascending[0]!, ascending[2]!, [opens[0]!, opens[1]!], written)
  }
  if (ascending.length !== 2) return undefined
  const [low, high] = [ascending[0]!, ascending[1]!]
  if (isName(low) && constant(high)) return interval(infinity(-1), high, [true, opens[0]!], written)
  if (constant(low) && isName(high)) return interval(low, infinity(1), [opens[0]!, true], written)
  return undefined
}

const interval = (
  low: Answer,
  high: Answer,
  open: readonly [boolean, boolean],
  written: string,
): Answer => ({ kind: "interval", ends: [low, high], open, written })

const infinity = (sign: 1 | -1): Answer => {
  const value: Expression = { op: "symbol", name: "PositiveInfinity" }
  return {
    kind: "scalar",
    value: sign === 1 ? value : { op: "multiply", args: [integer(-1), value] },
    unit: "",
    percent: false,
    written: sign === 1 ? "\\infty" : "-\\infty",
  }
}

const FLIPPED: { readonly [Op in RelationOperator]: RelationOperator } = {
  "=": "=",
  "\\ne": "\\ne",
  "<": ">",
  "\\le": "\\ge",
  ">": "<",
  "\\ge": "\\le",
  "\\in": "\\in",
}

function compareRelations(gold: Relation, answer: Relation, rules: Rules): Judgement {
  const direct = sideBySide(gold, answer, rules)
  if (direct.equal) return direct
  const flipped: Relation = {
    ...answer,
    sides: answer.sides.toReversed(),
    operators: answer.operators.toReversed().map((op) => FLIPPED[op]),
  }
  const reversed = sideBySide(gold, flipped, rules)
  if (reversed.equal) return reversed
  if (isEquation(gold) && isEquation(answer)) return compareEquations(gold, answer, rules)
  const [a, b] = [inequalityInterval(gold), inequalityInterval(answer)]
  if (a?.kind === "interval" && b?.kind === "interval" && variableOf(gold) === variableOf(answer)) {
    return compareIntervals(a, b, rules)
  }
  return direct
}

const variableOf = ({ sides }: Relation): string =>
  [...new Set(sides.flatMap((side) => [...symbolsOf(side)]))].sort().join()

function sideBySide(gold: Relation, answer: Relation, rules: Rules): Judgement {
  if (gold.operators.join() !== answer.operators.join()) return no("different relations")
  return every(
    gold.sides.map((side, i) => () => compareAnswers(side, answer.sides[i]!, rules)),
    "side by side",
  )
}

/** Equations are equal when named alike with equal values, or proportional as `left - right = 0`. */
function compareEquations(gold: Relation, answer: Relation, rules: Rules): Judgement {
  const [a, b] = [ends(gold), ends(answer)]
  if (!a || !b) return no("different equations")
  const [nameA, nameB] = [functionOf(a[0]), functionOf(b[0])]
  if (nameA && nameB && nameA.name === nameB.name) {
    const right = compareScalars(
      renameSymbol(a[1], nameA.argument, "argument"),
      renameSymbol(b[1], nameB.argument, "argument"),
      rules,
    )
    return { ...right, reason: `${nameA.name} of its argument: ${right.reason}` }
  }
  const chained = gold.sides.length > 2 || answer.sides.length > 2
  if (chained && compareScalars(a[0], b[0], rules).equal) return compareScalars(a[1], b[1], rules)
  const ratio = constantRatio(subtract(a[0], a[1]), subtract(b[0], b[1]))
  return ratio === undefined ? no("different equations") : yes("the same equation up to a factor")
}

function ends({ sides }: Relation): readonly [Expression, Expression] | undefined {
  const [first, last] = [sides[0]!, sides.at(-1)!]
  return first.kind === "scalar" && last.kind === "scalar" ? [first.value, last.value] : undefined
}

/** `f(x)` with a single-letter argument. */
function functionOf(x: Expression): { name: string; argument: string } | undefined {
  if (x.op !== "multiply" && x.op !== "call") return undefined
  const [name, argument, ...more] =
    x.op === "call" ? [x.name, ...x.args] : [nameOf(x.args[0]), ...x.args.slice(1)]
  if (argument?.op !== "symbol" || more.length > 0) return undefined
  return /^[fghpqFGHPQRSTUVW]$/.test(name ?? "")
    ? { name: name!, argument: argument.name }
    : undefined
}

const nameOf = (x: Expression | undefined): string | undefined =>
  x?.op === "symbol" ? x.name : undefined

/** All true: equal. One false: different. Else undecided. */
function every(judgements: readonly (() => Judgement)[], how: string): Judgement {
  let undecided: Judgement | undefined
  for (const judge of judgements) {
    const judgement = judge()
    if (judgement.equal === false) return judgement
    if (judgement.equal === undefined) undecided = judgement
  }
  return undecided ?? yes(`equal ${how}`)
}
