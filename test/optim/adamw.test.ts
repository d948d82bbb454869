import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { clipScale, decays } from "../../src/optim/index.ts"
import { adamwStep, zeroMoments } from "./adamw-reference.ts"

interface Golden {
  options: { betas: [number, number]; eps: number; weight_decay: number }
  max_norm: number
  start: { matrix: number[][]; vector: number[] }
  steps: {
    lr: number
    gradients: { matrix: number[][]; vector: number[] }
    norm: number
    matrix: number[][]
    vector: number[]
  }[]
}
const golden: Golden = JSON.parse(
  readFileSync(new URL("../../golden/optim.json", import.meta.url), "utf8"),
)
const norm = (values: readonly number[]) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0))

function near(found: Iterable<number>, expected: readonly number[]): void {
  const values = [...found]
  expect(values).toHaveLength(expected.length)
  values.forEach((value, i) => {
    const relative = Math.abs(value - expected[i]!) / Math.abs(expected[i]!)
    expect(relative).toBeLessThan(1e-12)
  })
}

test("clipping and AdamW follow PyTorch's, step by step", () => {
  const { options, max_norm, start, steps } = golden
  const parameters = {
    matrix: { values: Float64Array.from(start.matrix.flat()), shape: [3, 4] },
    vector: { values: Float64Array.from(start.vector), shape: [5] },
  }
  const moments = { matrix: zeroMoments(12), vector: zeroMoments(5) }
  const [beta1, beta2] = options.betas
  let clipped = 0
  steps.forEach(({ lr, gradients, norm: expected, ...after }, index) => {
    const flat = { matrix: gradients.matrix.flat(), vector: gradients.vector }
    const total = norm([...flat.matrix, ...flat.vector])
    near([total], [expected])
    const scale = clipScale(total, max_norm)
    if (scale < 1) clipped += 1
    for (const name of ["matrix", "vector"] as const) {
      const gradient = flat[name].map((g) => g * scale)
      adamwStep(parameters[name], gradient, moments[name], index + 1, {
        learningRate: lr,
        beta1,
        beta2,
        epsilon: options.eps,
        weightDecay: options.weight_decay,
      })
      near(parameters[name].values, after[name].flat())
    }
  })
  expect(clipped).toBeGreaterThan(0)
  expect(clipped).toBeLessThan(steps.length)
})

test("a loss scaled by a constant makes the same updates, but for epsilon and clipping", () => {
  const run = (scale: number) => {
    const parameter = { values: Float64Array.of(0.3, -0.2), shape: [2] }
    const moments = zeroMoments(2)
    for (let step = 1; step <= 5; step++) {
      const gradient = [0.4 * step, -0.7].map((g) => g * scale)
      adamwStep(parameter, gradient, moments, step, { learningRate: 0.01, epsilon: 1e-20 })
    }
    return parameter.values
  }
  const [full, small] = [run(1), run(1 / 20)]
  full.forEach((value, i) => {
    expect(small[i]).toBeCloseTo(value, 14)
  })
  expect([clipScale(5, 1), clipScale(5 / 20, 1)]).toEqual([expect.closeTo(0.2, 6), 1])
})

test("matrices decay, vectors do not; clipping can be off", () => {
  expect([decays([3, 4]), decays([5]), decays([])]).toEqual([true, false, false])
  expect(clipScale(1e9, 0)).toBe(1)
  expect(clipScale(0, 1)).toBe(1)
})
