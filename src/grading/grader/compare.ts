import type { Answer } from "./answer.ts"
import { every, no, quote, type Rules, squeeze, unknown, unlike, yes } from "./judgement.ts"
import { integer, type MathExpression, rational } from "./math-expression.ts"
import { withoutName } from "./names.ts"
import { compareCongruences, compareRelations, inRadians } from "./relations.ts"
import { compareScalars, type Judgement } from "./scalar.ts"
import { compareUnits } from "./units.ts"
import { compareChoices, compareWords, valueOfWords } from "./word-answers.ts"

/** Whether two answers are the same. `gold` and `answer` are alike but for which one is rounded. */
export function compareAnswers(gold: Answer, answer: Answer, rules: Rules): Judgement {
  if (sameWriting(gold, answer)) return yes("written the same")
  const choice = compareChoices(gold, answer, rules)
  if (choice) return choice
  if (gold.kind === "text" || answer.kind === "text") return compareText(gold, answer, rules)
  if (gold.kind === "unreadable" || answer.kind === "unreadable") {
    return unknown(`could not read ${quote(gold.kind === "unreadable" ? gold : answer)}`)
  }
  if (gold.kind === "relation" && answer.kind === "relation") {
    return compareRelations(gold, answer, rules, compareAnswers)
  }
  const [a, b] = [withoutName(gold, rules.lenient), withoutName(answer, rules.lenient)]
  if (a !== gold || b !== answer) return compareAnswers(a, b, rules)
  if (gold.kind === "congruence" && answer.kind === "congruence") {
    return compareCongruences(gold, answer, rules, compareAnswers)
  }
  if (gold.kind === "congruence" || answer.kind === "congruence") {
    if (!rules.lenient) return no("one is a congruence, the other is not")
    const [x, y] = [residueOf(gold), residueOf(answer)]
    return compareAnswers(x, y, rules)
  }
  if (gold.kind === "relation" || answer.kind === "relation") {
    return no("one is an equation or inequality, the other is not")
  }
  return compareValues(gold, answer, rules)
}

const residueOf = (answer: Answer): Answer => (answer.kind === "congruence" ? answer.value : answer)

const sameWriting = (a: Answer, b: Answer): boolean =>
  squeeze(a.written) === squeeze(b.written) && squeeze(a.written) !== ""

/** Words that are a number are compared as one; an indeterminate writing never gets here. */
function compareText(gold: Answer, answer: Answer, rules: Rules): Judgement {
  const [a, b] = [withoutName(gold, rules.lenient), withoutName(answer, rules.lenient)]
  if (a !== gold || b !== answer) return compareAnswers(a, b, rules)
  if (rules.lenient) {
    const [x, y] = [valueOfWords(gold), valueOfWords(answer)]
    if (x !== gold || y !== answer) return compareAnswers(x, y, rules)
  }
  return compareWords(gold, answer, rules)
}

type Valued = Exclude<Answer, { kind: "text" | "unreadable" | "relation" | "congruence" }>

function compareValues(gold: Valued, answer: Valued, rules: Rules): Judgement {
  if (gold.kind === "based" || answer.kind === "based") return compareBased(gold, answer)
  if (gold.kind === "scalar" && answer.kind === "scalar") return compareNumbers(gold, answer, rules)
  if (gold.kind === "matrix" || answer.kind === "matrix")
    return compareMatrices(gold, answer, rules)
  const [a, b] = [asInterval(gold, answer), asInterval(answer, gold)]
  if (a.kind === "interval" && b.kind === "interval") return compareIntervals(a, b, rules)
  const [x, y] = [asUnion(gold, answer), asUnion(answer, gold)]
  if (x && y) return compareSets(x, y, rules, "unions")
  if ("items" in gold && "items" in answer) return compareCollections(gold, answer, rules)
  const [one, many] = "items" in gold ? [answer, gold] : [gold, answer]
  if ("items" in many && many.items.length === 1 && many.kind !== "tuple") {
    return compareAnswers(many.items[0]!, one, rules)
  }
  if (rules.lenient && answer.kind === "list" && !("items" in gold)) {
    // `1/2 or 0.5`: one value, written more than once
    return every(
      answer.items.map((item) => () => compareAnswers(gold, item, rules)),
      "in each writing",
    )
  }
  return unlike(gold, answer)
}

/** The same number; its digits alone, without a base, say nothing of it. */
function compareBased(gold: Valued, answer: Valued): Judgement {
  if (gold.kind !== "based" || answer.kind !== "based") return unlike(gold, answer)
  if (gold.value !== answer.value) return no("different values")
  return yes(gold.base === answer.base ? "the same digits" : "the same number in another base")
}

type Scalar = Extract<Answer, { kind: "scalar" }>

function compareNumbers(gold: Scalar, answer: Scalar, rules: Rules): Judgement {
  const units = compareUnits(gold.unit, answer.unit)
  if (units === "conflict" || (units !== "compatible" && !rules.lenient)) {
    return no(`different units: ${gold.unit} and ${answer.unit}`)
  }
  if (units !== "compatible") {
    const over: MathExpression = { op: "power", args: [rational(units.over), integer(-1)] }
    const converted: MathExpression = {
      op: "multiply",
      args: [answer.value, rational(units.times), over],
    }
    const judged = compareScalars(gold.value, converted, rules)
    return { ...judged, reason: `${answer.unit} in ${gold.unit}: ${judged.reason}` }
  }
  const angle = compareAngles(gold, answer, rules)
  if (angle) return angle
  const plain = compareScalars(gold.value, answer.value, rules)
  if (plain.equal || gold.percent === answer.percent || !rules.lenient) return plain
  const hundredth = (side: Scalar): MathExpression =>
    side.percent
      ? { op: "multiply", args: [side.value, { op: "power", args: [integer(100), integer(-1)] }] }
      : side.value
  const scaled = compareScalars(hundredth(gold), hundredth(answer), rules)
  return scaled.equal ? yes(`percent as a fraction: ${scaled.reason}`) : plain
}

const RADIANS = /^rad(?:s|ians?)?$/

/** A degree sign on one side only: against radians in words, or a multiple of pi, it counts. */
function compareAngles(gold: Scalar, answer: Scalar, rules: Rules): Judgement | undefined {
  if (gold.degrees === answer.degrees) return undefined
  const [degrees, other] = gold.degrees ? [gold, answer] : [answer, gold]
  const radians = RADIANS.test(other.unit)
  if (!radians && !(rules.lenient && /\\pi(?![a-zA-Z])/.test(other.written))) return undefined
  if (!rules.lenient) return no("degrees and radians")
  const judged = compareScalars(inRadians(degrees.value), other.value, rules)
  return { ...judged, reason: `degrees in radians: ${judged.reason}` }
}

function compareMatrices(gold: Valued, answer: Valued, rules: Rules): Judgement {
  const [a, b] = [rowsOf(gold, rules), rowsOf(answer, rules)]
  if (!a || !b) return unlike(gold, answer)
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
): readonly (readonly MathExpression[])[] | undefined {
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

/** The parts of a union; beside one, `x < 1 \text{ or } x > 2` is one, and a tuple an interval. */
function asUnion(answer: Valued, other: Valued): readonly Answer[] | undefined {
  if (answer.kind === "union") return answer.items
  if (other.kind !== "union" || answer.kind !== "list") return undefined
  const parts = answer.items.map((item) => withoutName(item, true))
  return parts.every(({ kind }) => kind === "interval" || kind === "tuple") ? parts : undefined
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
  const [a, b] = alignNames(gold.items, answer.items, rules)
  const ordered = gold.kind === "tuple" || answer.kind === "tuple"
  const mixed = gold.kind !== answer.kind
  if (mixed && rules.lenient && ordered && a.length === b.length && a.length > 1) {
    const loose = looseTuple(gold, answer)
    if (loose)
      return every(
        a.map((item, i) => () => compareAnswers(item, b[i]!, rules)),
        loose,
      )
  }
  if (mixed && (ordered || !rules.lenient)) return unlike(gold, answer)
  const bothLists = gold.kind === "list" && answer.kind === "list"
  const unordered = gold.kind === "set" || gold.kind === "union" || (rules.lenient && !ordered)
  if (unordered) return compareSets(a, b, rules, "in any order", bothLists)
  if (a.length !== b.length) return no(`expected ${a.length} values, got ${b.length}`)
  return every(
    a.map((item, i) => () => compareAnswers(item, b[i]!, rules)),
    "one by one",
  )
}

/** `3, 4` and `x = 3, y = 4` beside the pair (3, 4): its values in their order. */
function looseTuple(gold: Collection, answer: Collection): string | undefined {
  const [tuple, other] = gold.kind === "tuple" ? [gold, answer] : [answer, gold]
  if (other.kind !== "list" || tuple.kind !== "tuple") return undefined
  return "one by one, brackets or names left out"
}

/** `x = 1, 2` against `1, 2`: a name on one side only is dropped. */
function alignNames(
  a: readonly Answer[],
  b: readonly Answer[],
  { lenient }: Rules,
): [readonly Answer[], readonly Answer[]] {
  const named = (items: readonly Answer[]): boolean =>
    items.length > 0 && items.every(({ kind }) => kind === "relation")
  const bare = (items: readonly Answer[]): readonly Answer[] =>
    items.map((item) => withoutName(item, lenient))
  return named(a) && named(b) ? [a, b] : [bare(a), bare(b)]
}

/**
 * Each of one side matched with one of the other. Repeats count where both are lists with equally
 * many entries: 1, 1, 2 is not 1, 2, 2.
 */
function compareSets(
  gold: readonly Answer[],
  answer: readonly Answer[],
  rules: Rules,
  how: string,
  repeatsCount = false,
): Judgement {
  const keep = repeatsCount && gold.length === answer.length
  const [a, b] = keep ? [gold, answer] : [withoutRepeats(gold), withoutRepeats(answer)]
  if (a.length !== b.length) return no(`expected ${a.length} values, got ${b.length}`)
  const free = [...b]
  const others = a.filter((item) => {
    const same = free.findIndex((other) => sameWriting(item, other))
    if (same >= 0) free.splice(same, 1)
    return same < 0
  })
  for (const item of others) {
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
  ...new Map(items.map((item, i) => [keyOf(item, i), item])).values(),
]

/** Parts made from one writing (a line without a point) are told apart by their place. */
const keyOf = (item: Answer, place: number): string =>
  item.kind === "interval" ? `${place}` : squeeze(item.written)
