import { expect, test } from "vitest"
import { dpoPair, evaluate, objectiveFromConfig } from "../../src/objectives/index.ts"

const policy = { chosen: -12, rejected: -15 }
const reference = { chosen: -13, rejected: -14 }

test("the loss of a pair is -ln sigmoid(beta m)", () => {
  const { loss, rewardMargin } = dpoPair(policy, reference, { beta: 0.1 })
  expect(rewardMargin).toBeCloseTo(0.2, 14)
  expect(loss).toBeCloseTo(-Math.log(1 / (1 + Math.exp(-0.2))), 14)
})

test("at the reference the loss is ln 2", () => {
  expect(dpoPair(policy, policy, { beta: 0.1 }).loss).toBeCloseTo(Math.LN2, 15)
})

test.each([0, 0.1])(
  "the advantage is the derivative of the loss (smoothing %s)",
  (labelSmoothing) => {
    const options = { beta: 0.3, labelSmoothing }
    const { advantage } = dpoPair(policy, reference, options)
    const h = 1e-6
    const at = (by: number) => {
      return dpoPair({ ...policy, chosen: policy.chosen + by }, reference, options).loss
    }
    expect(-(at(h) - at(-h)) / (2 * h)).toBeCloseTo(advantage, 9)
    // Through the objective's expression: -A on chosen tokens, +A on rejected ones.
    const columns = {
      logp: Float64Array.of(-1, -2),
      advantage: Float64Array.of(advantage, -advantage),
    }
    const { coefficients } = evaluate(objectiveFromConfig("dpo").expression, columns, [0, 1])
    expect([...coefficients.logp]).toEqual([-advantage, advantage])
  },
)

test("huge margins overflow nowhere", () => {
  const far = dpoPair({ chosen: -1e5, rejected: 0 }, { chosen: 0, rejected: 0 }, { beta: 1 })
  expect(far).toEqual({ loss: 1e5, rewardMargin: -1e5, advantage: 1 })
  const won = dpoPair({ chosen: 0, rejected: -1e5 }, { chosen: 0, rejected: 0 }, { beta: 1 })
  expect(won).toEqual({ loss: 0, rewardMargin: 1e5, advantage: 0 })
})
