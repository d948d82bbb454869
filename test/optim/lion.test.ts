import { readFileSync } from "node:fs"
import { afterAll, expect, test } from "vitest"
import { createLion } from "../../src/optim/index.ts"
import { type DeviceTensor, float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

type Name = "matrix" | "vector"
type Nested = readonly (number | readonly number[])[]
type ByName = Readonly<Record<Name, Nested>>
const golden = JSON.parse(
  readFileSync(new URL("../../golden/lion.json", import.meta.url), "utf8"),
) as {
  readonly options: { readonly betas: readonly [number, number]; readonly weight_decay: number }
  readonly start: ByName
  readonly steps: readonly {
    readonly lr: number
    readonly scale: number
    readonly gradients: ByName
    readonly parameters: ByName
    readonly moments: ByName
  }[]
}
const [beta1, beta2] = golden.options.betas
const settings = { beta1, beta2, weightDecay: golden.options.weight_decay }
const SHAPES = { matrix: [3, 4], vector: [5] } as const

const upload = (shape: readonly number[], values: ArrayLike<number>) =>
  device.upload(float32(shape, Float32Array.from(values)))
const near = (tensor: DeviceTensor, expected: readonly number[]) => {
  const found = [...(tensor.data as Float32Array)]
  expect(found).toHaveLength(expected.length)
  for (const [i, value] of found.entries()) {
    expect(Math.abs(value - expected[i]!)).toBeLessThan(
      1e-6 * Math.max(1e-2, Math.abs(expected[i]!)),
    )
  }
}

test.each(["matrix", "vector"] as const)("12 steps of a %s are the paper's", async (name) => {
  const lion = await createLion(device, settings)
  const shape = SHAPES[name]
  const flat = (values: ByName) => (values[name] as readonly number[]).flat()
  let now = {
    parameter: await upload(shape, flat(golden.start)),
    first: await upload(shape, new Float32Array(flat(golden.start).length)),
  }
  for (const [i, { lr, scale, ...expected }] of golden.steps.entries()) {
    const gradient = await upload(shape, flat(expected.gradients))
    const decay = name === "matrix"
    const step = { step: i + 1, learningRate: lr, gradientScale: scale, decay }
    now = await lion.update({ ...now, gradient }, step)
    near(now.parameter, flat(expected.parameters))
    near(now.first, flat(expected.moments))
  }
  await lion.release()
})

test("of several chunks every element changes once, in place; by nothing where there is nothing", async () => {
  const length = 262_144 + 7
  const lion = await createLion(device, { ...settings, weightDecay: 0 })
  const gradients = Float32Array.from({ length }, (_, i) => (i % 3) - 1)
  const tensors = {
    parameter: await upload([length], new Float32Array(length)),
    gradient: await upload([length], gradients),
    first: await upload([length], new Float32Array(length)),
  }
  const step = { step: 1, learningRate: 0.5, gradientScale: 0.25, decay: true }
  const after = await lion.update(tensors, step)
  expect(after.parameter.data).toBe(tensors.parameter.data)
  const changed = after.parameter.data as Float32Array
  expect(changed.every((value, i) => value === -0.5 * gradients[i]!)).toBe(true)
  await lion.release()
})
