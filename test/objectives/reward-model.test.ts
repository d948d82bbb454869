import { expect, test } from "vitest"
import { evaluate, evaluateAll, objectiveFromConfig } from "../../src/objectives/index.ts"

interface Scores {
  readonly chosen: number
  readonly rejected: number
  readonly margin?: number
}

/** Loss of one pair and d loss / d score of both sides. */
function lossOf(coefficient: number, { chosen, rejected, margin = 0 }: Scores) {
  const settings = { name: "reward", center_rewards_coefficient: coefficient }
  const objective = objectiveFromConfig(settings)
  const columns = {
    score: Float64Array.of(chosen, rejected),
    margin: Float64Array.of(margin, margin),
    pair_sign: Float64Array.of(1, -1),
  }
  const [value] = evaluateAll([objective.value!], columns, [0, 1])
  const { coefficients } = evaluate(objective.expression, columns, [0, 1])
  return { loss: value![0]! + value![1]!, gradient: [...coefficients.score!] }
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

test.each([
  [0, { chosen: 0.3, rejected: -0.4 }],
  [0, { chosen: -1.2, rejected: 0.9, margin: 0.5 }],
  [0.2, { chosen: 1.7, rejected: 0.1, margin: -1 }],
])("c %d, %j: the value is Bradley and Terry's, the gradient its own", (c, scores) => {
  const { chosen, rejected, margin = 0 } = scores as Scores
  const { loss, gradient } = lossOf(c, scores)
  const z = chosen - rejected - margin
  expect(loss).toBeCloseTo(-Math.log(sigmoid(z)) + c * (chosen + rejected) ** 2, 12)
  const centring = 2 * c * (chosen + rejected)
  expect(gradient[0]).toBeCloseTo(-sigmoid(-z) + centring, 12)
  expect(gradient[1]).toBeCloseTo(sigmoid(-z) + centring, 12)
})

test("scores shifted together say the same, unless they are centred", () => {
  const at = (c: number, by: number) => lossOf(c, { chosen: 0.5 + by, rejected: -0.2 + by }).loss
  expect(at(0, 3)).toBeCloseTo(at(0, 0), 12)
  expect(at(0.1, 3)).toBeGreaterThan(at(0.1, 0))
})

test("scores far apart stay finite, with the slope of a line", () => {
  for (const far of [1e3, 1e6]) {
    const wrong = lossOf(0, { chosen: -far, rejected: far })
    expect(wrong.loss).toBeCloseTo(2 * far, 6)
    expect(wrong.gradient).toEqual([-1, 1])
    const right = lossOf(0, { chosen: far, rejected: -far })
    expect(right.loss).toBe(0)
    expect(right.gradient.map(Math.abs)).toEqual([0, 0])
  }
})
