import { expect, test } from "vitest"
import {
  evaluate,
  evaluateAll,
  objectiveFromJson,
  objectiveToJson,
  tokenScales,
} from "../../src/objectives/index.ts"
import { GOLDEN_CASES, GOLDEN_RL, OF_VALUES, stepTokens } from "./golden-rl.ts"

test.each(GOLDEN_CASES)("$name has TRL's value and gradient", (one) => {
  const { step, loss, gradient } = one
  for (const objective of [
    one.objective,
    objectiveFromJson(JSON.parse(JSON.stringify(objectiveToJson(one.objective)))),
  ]) {
    const { expression, value, normalization } = objective
    const scales = one.tokens
      ? new Float64Array(step.segments.length).fill(1 / one.tokens)
      : tokenScales(normalization, stepTokens(step))
    const found = evaluate(expression, step.columns, step.segments)
    const [values] = value ? evaluateAll([value], step.columns, step.segments) : [found.loss]
    const total = values!.reduce((sum, x, t) => sum + x * scales[t]!, 0)
    expect(total).toBeCloseTo(loss, 12)
    gradient.forEach((expected, t) => {
      expect(found.coefficients.logp[t]! * scales[t]!).toBeCloseTo(expected, 12)
    })
  }
})

test("every golden case is held here, but a critic's, which are held by critic.test.ts", () => {
  const held = new Set(GOLDEN_CASES.map(({ name }) => name))
  const all = [...GOLDEN_RL.cases, ...GOLDEN_RL.hybrids].map(({ name }) => name)
  expect(all.filter((name) => !held.has(name))).toEqual(OF_VALUES)
})
