import { expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import {
  evaluate,
  type ObjectiveSettings,
  objectiveFromConfig,
  objectiveToJson,
} from "../../src/objectives/index.ts"

const P = [0.99, 0.6, 0.3, 0.05, 0.001]
const columns = {
  logp: Float64Array.from(P, Math.log),
  token_class: Float64Array.of(0, 0, 0, 2, 1),
  kl_ref: new Float64Array(5).fill(0.5),
  progress: 1,
}
const segments = new Int32Array(5)

function weights(settings: ObjectiveSettings, progress = 1): number[] {
  const { expression } = objectiveFromConfig(settings)
  const { coefficients } = evaluate(expression, { ...columns, progress }, segments)
  return [...coefficients.logp].map((value) => -value)
}

const near = (found: number[], expected: number[]) => {
  expect(found).toHaveLength(expected.length)
  found.forEach((value, t) => {
    expect(value).toBeCloseTo(expected[t]!, 12)
  })
}

test("a floor and a ceiling bound the weight", () => {
  const bounded = weights({ name: "dft", weight_floor: 0.1, weight_ceiling: 0.7 })
  near(bounded, [0.7, 0.6, 0.3, 0.1, 0.1])
})

test("a floor on a direct objective keeps its gradient where the floor does not bind", () => {
  const floored = weights({ name: "alpha", a: 2, weight_floor: 0.01 })
  near(floored, [0.99 ** 2, 0.36, 0.09, 0.01, 0.01])
})

test("special tokens keep weight 1, whatever the floor", () => {
  near(weights({ name: "dft", keep_special: true }), [0.99, 0.6, 0.3, 1, 1])
  near(weights({ name: "focal", g: 1, keep_special: true }).slice(3), [1, 1])
})

test("a ramp is SFT, then a blend, then the objective", () => {
  const ramped = { name: "dft", ramp: { start: 0.2, end: 0.4 } }
  near(weights(ramped, 0.1), [1, 1, 1, 1, 1])
  near(
    weights(ramped, 0.3),
    P.map((p) => 0.5 + 0.5 * p),
  )
  near(weights(ramped, 0.9), P)
})

test("a ramp without a blend is a switch", () => {
  const switched = { name: "dft", ramp: { start: 0.5, end: 0.5 } }
  near(weights(switched, 0.49), [1, 1, 1, 1, 1])
  near(weights(switched, 0.5), P)
})

test("a ramp brings the anchor in with the objective", () => {
  const { expression } = objectiveFromConfig({
    name: "asft",
    lambda: 0.2,
    ramp: { start: 0.2, end: 0.4 },
  })
  const { coefficients } = evaluate(expression, { ...columns, progress: 0.3 }, segments)
  expect(coefficients.kl_ref![0]).toBeCloseTo(0.1, 12)
})

test("what is used is recorded, defaults filled in", () => {
  const { parameters, normalization } = objectiveFromConfig({ name: "idft", wmin: 0.2 })
  expect(normalization).toBe("tokens")
  expect(parameters).toEqual({
    ...{ wmin: 0.2, wmax: 1, tau: 0, temperature: 1 },
    ramp: { start: 0.2, end: 0.3 },
  })
})

test("an expression of one's own goes through the config", () => {
  const own = objectiveToJson(objectiveFromConfig({ name: "power", a: 0.5 }))
  const { name, expression } = objectiveFromConfig({ name: "mine", expression: own })
  expect(name).toBe("mine")
  const { coefficients } = evaluate(expression, columns, segments)
  P.forEach((p, t) => {
    expect(-coefficients.logp[t]!).toBeCloseTo(Math.sqrt(p), 12)
  })
})

const refused: { settings: ObjectiveSettings; says: string }[] = [
  { settings: { name: "dtf" }, says: 'did you mean "dft"?' },
  { settings: { name: "constructor" }, says: "unknown objective" },
  { settings: { name: "threshold", taus: 0.3 }, says: 'did you mean "tau"?' },
  { settings: { name: "dft", alpha: 1 }, says: "dft takes no parameters" },
  { settings: { name: "threshold", tau: 2 }, says: "from 0 to 1" },
  { settings: { name: "threshold", tau: "0.2" }, says: "expected a number" },
  { settings: { name: "threshold", keep: "middle" }, says: "high, low" },
  { settings: { name: "sft", keep_special: true }, says: "weights are 1 already" },
  { settings: { name: "sft", ramp: { start: 0, end: 1 } }, says: "does not fit sft" },
  { settings: { name: "ppo", weight_floor: 0.1 }, says: "carry the advantages' sign" },
  { settings: { name: "grpo", normalization: "weights" }, says: "both signs" },
  { settings: { name: "psft", weight_ceiling: 1 }, says: "epsilon" },
  { settings: { name: "dft", weight_floor: 0.5, weight_ceiling: 0.1 }, says: "above" },
  { settings: { name: "dft", weight_floor: -1 }, says: "at least 0" },
  { settings: { name: "dft", normalization: "token" }, says: 'did you mean "tokens"?' },
  { settings: { name: "own", expression: { nodes: [] } }, says: "objective.expression" },
]

test.each(refused)("$settings is refused", ({ settings, says }) => {
  expect(() => objectiveFromConfig(settings)).toThrow(InputError)
  expect(() => objectiveFromConfig(settings)).toThrow(says)
})

test("expressions of one's own take no modifiers", () => {
  const own = objectiveToJson(objectiveFromConfig("dft"))
  const settings = { name: "mine", expression: own, weight_floor: 0.1 }
  expect(() => objectiveFromConfig(settings)).toThrow("write it into the expression")
})
