import { expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { evaluate } from "../../src/objectives/evaluate.ts"
import { formulaExpression, formulaObjective } from "../../src/objectives/formula.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import { weightsAt } from "../../src/objectives/weights.ts"
import { fc } from "../seeded-check.ts"

const P = [1e-6, 0.03, 0.3, 0.5, 0.97, 1]
const LOGP = Float64Array.from(P, Math.log)
const columns = { logp: LOGP, progress: 0.25, entropy: LOGP.map((x) => x * x) }
const valuesOf = (text: string) =>
  evaluate(formulaExpression(text), columns, new Int32Array(P.length))

test.each([
  ["nll", "sft"],
  ["c", "sft"],
  ["sg(p) c", "dft"],
  ["detach(p) * nll", "dft"],
  ["-sg(exp(logp)) logp", "dft"],
  ["sg(p^0.5 (1-p)^0) * nll", { name: "power", a: 0.5, b: 0 }],
])("%s is what %j is", (text, named) => {
  const found = valuesOf(text)
  const { expression } = objectiveFromConfig(named as never)
  const wanted = evaluate(expression, columns, new Int32Array(P.length))
  for (const i of P.keys()) {
    expect(found.loss[i]).toBeCloseTo(wanted.loss[i]!, 12)
    expect(found.coefficients.logp[i]).toBeCloseTo(wanted.coefficients.logp[i]!, 10)
  }
})

test.each([
  ["1 + 2 * 3", 7],
  ["(1 + 2) * 3", 9],
  ["2 ^ 3 ^ 2", 512],
  ["-2 ^ 2", -4],
  ["2 ^ -1", 0.5],
  ["8 / 2 / 2", 2],
  ["7 - 2 - 1", 4],
  ["2 3", 6],
  ["2(3 + 1)", 8],
  ["1.5e1 + .5", 15.5],
  ["max(1, min(3, 2))", 2],
  ["clamp(5, 0, 1)", 1],
  ["where(1 < 2, 10, 20)", 10],
  ["(2 >= 2) + (2 > 2) + (2 == 2) + (3 <= 2)", 2],
  ["progress", 0.25],
  ["--1", 1],
  ["ln(exp(1))", 1],
])("%s is %d", (text, value) => {
  for (const found of valuesOf(text).loss) expect(found).toBeCloseTo(value, 12)
})

test.each([
  ["", /column 1: expected a number, a name or "\(", got the end/],
  ["sg(p", /column 5: expected "\)", got the end/],
  ["p +", /column 4: expected a number/],
  ["p ) c", /column 3: expected an operator or the end, got "\)"/],
  ["q * nll", /column 1: expected a quantity or a function, got "q"/],
  ["2 entrpy", /column 3: .*"entrpy"; did you mean "entropy"/],
  ["min(p)", /column 1: expected 2 arguments of min, got 1/],
  ["p; alert(1)", /column 2: .* got ";"/],
  ["p.constructor", /column 2: .* got "\."/],
  ["constructor", /column 1: .* got "constructor"/],
  ["__proto__(p)", /column 1: .* got "__proto__"/],
  ["1e999", /column 1: expected a finite number/],
  ["sg", /column 3: expected "\(", got the end/],
  [`${"(".repeat(2000)}p`, /at most 500 characters/],
  [`${"(".repeat(200)}p${")".repeat(200)}`, /at most 50 parts inside each other/],
])("%s is refused by its column", (text, message) => {
  expect(() => formulaExpression(text)).toThrow(InputError)
  expect(() => formulaExpression(text)).toThrow(message)
})

test("a formula that teaches nothing is no objective", () => {
  expect(() => formulaObjective("mine", "sg(p) * sg(nll)")).toThrow(/no gradient reaches the model/)
  expect(formulaObjective("mine", "sg(p) * nll").name).toBe("mine")
})

test("a forgotten stop-gradient shows in the weight: it turns negative below 1/e", () => {
  const at = { tokenClass: 0, progress: 0 }
  const [right] = [weightsAt(formulaObjective("a", "sg(p) * nll"), [0.1, 0.6], at)!]
  const forgotten = weightsAt(formulaObjective("b", "p * nll"), [0.1, 0.6], at)!
  expect(right[0]).toBeCloseTo(0.1, 12)
  expect(forgotten[0]).toBeLessThan(0)
  expect(forgotten[1]).toBeGreaterThan(0)
})

test("any text gives an expression or an InputError, nothing else", () => {
  const piece = fc.constantFrom(
    ..."p c sg ( ) + - * / ^ , 1 2.5 min where < == ln x ' é".split(" "),
  )
  const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(" "))
  fc.assert(
    fc.property(fc.oneof(text, fc.string({ maxLength: 40 })), (written) => {
      try {
        formulaExpression(written)
      } catch (error) {
        expect(error).toBeInstanceOf(InputError)
      }
    }),
  )
})
