import { type Answer, symbolsOf } from "./answer.ts"
import { type Compare, every, no, type Rules, yes } from "./judgement.ts"
import { integer, type MathExpression, renameSymbol, subtract } from "./math-expression.ts"
import { exactInteger } from "./modular.ts"
import { FLIPPED, isEquation, type Relation, solutionsOf } from "./names.ts"
import { compareScalars, constantRatio, type Judgement } from "./scalar.ts"

/** Equations, inequalities and congruences against their like. */

export function compareRelations(
  gold: Relation,
  answer: Relation,
  rules: Rules,
  compare: Compare,
): Judgement {
  const direct = sideBySide(gold, answer, rules, compare)
  if (direct.equal) return direct
  const flipped: Relation = {
    ...answer,
    sides: answer.sides.toReversed(),
    operators: answer.operators.toReversed().map((op) => FLIPPED[op]),
  }
  const reversed = sideBySide(gold, flipped, rules, compare)
  if (reversed.equal) return reversed
  if (isEquation(gold) && isEquation(answer)) return compareEquations(gold, answer, rules)
  const [a, b] = [solutionsOf(gold), solutionsOf(answer)]
  if (a && b && variableOf(gold) === variableOf(answer)) return compare(a, b, rules)
  return direct
}

const variableOf = ({ sides }: Relation): string =>
  [...new Set(sides.flatMap((side) => [...symbolsOf(side)]))].sort().join()

function sideBySide(gold: Relation, answer: Relation, rules: Rules, compare: Compare): Judgement {
  if (gold.operators.join() !== answer.operators.join()) return no("different relations")
  return every(
    gold.sides.map((side, i) => () => compare(side, answer.sides[i]!, rules)),
    "side by side",
  )
}

/**
 * Equations are equal when named alike with equal values, or proportional as `left - right = 0`.
 */
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

function ends({ sides }: Relation): readonly [MathExpression, MathExpression] | undefined {
  const [first, last] = [sides[0]!, sides.at(-1)!]
  return first.kind === "scalar" && last.kind === "scalar" ? [first.value, last.value] : undefined
}

/** `f(x)` with a single-letter argument. */
function functionOf(x: MathExpression): { name: string; argument: string } | undefined {
  if (x.op !== "multiply" && x.op !== "call") return undefined
  const [name, argument, ...more] =
    x.op === "call" ? [x.name, ...x.args] : [nameOf(x.args[0]), ...x.args.slice(1)]
  if (argument?.op !== "symbol" || more.length > 0) return undefined
  return /^[fghpqFGHPQRSTUVW]$/.test(name ?? "")
    ? { name: name!, argument: argument.name }
    : undefined
}

const nameOf = (x: MathExpression | undefined): string | undefined =>
  x?.op === "symbol" ? x.name : undefined

type Congruence = Extract<Answer, { kind: "congruence" }>

/** `x \equiv 12 \pmod 7` is `x \equiv 5 \pmod 7`, and is nothing modulo 8. */
export function compareCongruences(
  gold: Congruence,
  answer: Congruence,
  rules: Rules,
  compare: Compare,
): Judgement {
  const modulus = compare(gold.modulus, answer.modulus, rules)
  if (!modulus.equal) return { ...modulus, reason: `the moduli: ${modulus.reason}` }
  if (gold.name && answer.name) {
    const names = compare(gold.name, answer.name, rules)
    if (!names.equal) return { ...names, reason: `left of the sign: ${names.reason}` }
  }
  const residues = [gold.value, answer.value, gold.modulus].map((side) =>
    side.kind === "scalar" ? exactInteger(side.value) : undefined,
  )
  const [a, b, m] = residues
  if (a !== undefined && b !== undefined && m !== undefined && m !== 0n) {
    return (a - b) % m === 0n ? yes("congruent") : no("not congruent")
  }
  return compare(gold.value, answer.value, rules)
}

/** Degrees as radians: `90^\circ` and `\pi/2`. */
export const inRadians = (x: MathExpression): MathExpression => ({
  op: "multiply",
  args: [x, { op: "symbol", name: "Pi" }, { op: "power", args: [integer(180), integer(-1)] }],
})
