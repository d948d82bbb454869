import { readFileSync } from "node:fs"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type AdamWTensors, createAdamW, createSquaredNorm } from "../../src/optim/index.ts"
import {
  type Device,
  type DeviceTensor,
  float32,
  type HostKernel,
} from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { adamwStep, zeroMoments } from "./adamw-reference.ts"

let device: Device
beforeAll(async () => {
  device = await openDevice({ device: "cpu", threads: 2 })
})
afterAll(() => device.release())

const upload = (shape: readonly number[], values: ArrayLike<number>) =>
  device.upload(float32(shape, Float32Array.from(values)))
const values = (tensor: DeviceTensor) => tensor.data as Float32Array

interface Golden {
  readonly options: { betas: [number, number]; eps: number; weight_decay: number }
  readonly start: { matrix: number[][]; vector: number[] }
  readonly steps: readonly {
    lr: number
    gradients: { matrix: number[][]; vector: number[] }
    norm: number
    matrix: number[][]
    vector: number[]
  }[]
}
const golden = JSON.parse(
  readFileSync(new URL("../../golden/optim.json", import.meta.url), "utf8"),
) as Golden

test("the updates are PyTorch's, clipping included, at float32", async () => {
  const { betas, eps, weight_decay: weightDecay } = golden.options
  const adamw = await createAdamW(device, {
    beta1: betas[0],
    beta2: betas[1],
    epsilon: eps,
    weightDecay,
  })
  const norm = await createSquaredNorm(device)
  const state = async (shape: readonly number[], start: readonly number[]) => ({
    parameter: await upload(shape, start),
    first: await upload(
      shape,
      start.map(() => 0),
    ),
    second: await upload(
      shape,
      start.map(() => 0),
    ),
  })
  let matrix = await state([3, 4], golden.start.matrix.flat())
  let vector = await state([5], golden.start.vector)
  for (const [i, expected] of golden.steps.entries()) {
    const gradients = {
      matrix: await upload([3, 4], expected.gradients.matrix.flat()),
      vector: await upload([5], expected.gradients.vector),
    }
    const length = Math.sqrt(await norm.of([gradients.matrix, gradients.vector]))
    expect(length / expected.norm).toBeCloseTo(1, 5)
    const step = {
      step: i + 1,
      learningRate: expected.lr,
      gradientScale: Math.min(1, 1 / (length + 1e-6)),
    }
    matrix = await adamw.update({ ...matrix, gradient: gradients.matrix }, { ...step, decay: true })
    vector = await adamw.update(
      { ...vector, gradient: gradients.vector },
      { ...step, decay: false },
    )
    for (const [actual, wanted] of [
      [values(matrix.parameter), expected.matrix.flat()],
      [values(vector.parameter), expected.vector],
    ] as const) {
      for (const [j, value] of wanted.entries()) expect(actual[j]).toBeCloseTo(value, 5)
    }
  }
  await adamw.release()
  await norm.release()
})

// A whole chunk, several, and a rest that fills none.
test.each([1, 262_144, 2 * 262_144 + 7])(
  "%i elements, every one updated in place",
  async (length) => {
    const random = (seed: number) =>
      Float32Array.from({ length }, (_, i) => Math.sin(i * 0.7 + seed) * 0.5)
    const settings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 }
    const adamw = await createAdamW(device, settings)
    const tensors: AdamWTensors = {
      parameter: await upload([length], random(1)),
      gradient: await upload([length], random(2)),
      first: await upload([length], random(3)),
      second: await upload([length], random(4).map(Math.abs)),
    }
    const expected = { values: Float64Array.from(random(1)), shape: [length, 1] }
    const moments = zeroMoments(length)
    moments.first.set(random(3))
    moments.second.set(random(4).map(Math.abs))
    const buffers = [values(tensors.parameter), values(tensors.first), values(tensors.second)]

    const step = { step: 3, learningRate: 0.01, gradientScale: 0.25, decay: true }
    const after = await adamw.update(tensors, step)
    const scaled = random(2).map((g) => g * 0.25)
    adamwStep(expected, scaled, moments, 3, { ...settings, learningRate: 0.01 })

    const worst = (actual: Float32Array, wanted: Float64Array) =>
      actual.reduce((max, value, i) => Math.max(max, Math.abs(value - wanted[i]!)), 0)
    expect(worst(values(after.parameter), expected.values)).toBeLessThan(1e-6)
    expect(worst(values(after.first), moments.first)).toBeLessThan(1e-6)
    expect(worst(values(after.second), moments.second)).toBeLessThan(1e-6)
    expect(values(after.first)).toBe(buffers[1])
    expect(values(after.parameter)).toBe(buffers[0])
    await adamw.release()
  },
)

test.each([1, 1023, 262_144, 600_001])("the squared norm of %i elements", async (length) => {
  const data = Float32Array.from({ length }, (_, i) => Math.sin(i) + 0.3)
  const norm = await createSquaredNorm(device)
  const exact = data.reduce((sum, x) => sum + x * x, 0)
  const once = await norm.of([await upload([length], data), await upload([length, 1], data)])
  expect(once / (2 * exact)).toBeCloseTo(1, 6)
  const again = await norm.of([await upload([length], data), await upload([length, 1], data)])
  expect(again).toBe(once)
  await norm.release()
})

test("the host's kernel has the bits of the graph", async ({ skip }) => {
  skip(!device.updates, "there is no library of ours here")
  const { updates, ...rest } = device
  const graphs: Device = {
    ...rest,
    compile: (...given) => device.compile(...given),
    upload: (host) => device.upload(host),
    uploadFactor: (matrix) => device.uploadFactor(matrix),
    download: (tensor) => device.download(tensor),
    release: () => device.release(),
  }
  let calls = 0
  const adamw: HostKernel = (...arrays) => {
    calls++
    return updates!.adamw(...arrays)
  }
  const counted: Device = { ...graphs, updates: { ...updates!, adamw } }
  const elements = 2 ** 20 + 777
  // zeros, the smallest numbers and large ones among them
  const drawn = (seed: number, scale: number) => {
    const numbers = new Float32Array(elements)
    for (let i = 0; i < elements; i++) {
      const x = (Math.imul(i + seed, 0x9e3779b1) / 2 ** 31) * scale
      numbers[i] = i % 97 === 0 ? x * 1e-36 : i % 89 === 0 ? 0 : x
    }
    return numbers
  }
  const after = async (on: Device) => {
    const settings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 }
    const adamw = await createAdamW(on, settings)
    let tensors: Omit<AdamWTensors, "gradient"> = {
      parameter: await upload([elements], drawn(1, 1)),
      first: await upload([elements], new Float32Array(elements)),
      second: await upload([elements], new Float32Array(elements)),
    }
    for (let step = 1; step <= 3; step++) {
      const gradient = await upload([elements], drawn(step + 1, 10 ** (1 - step)))
      const at = { step, learningRate: 1e-2, gradientScale: 1 / 3, decay: step < 3 }
      tensors = await adamw.update({ ...tensors, gradient }, at)
    }
    await adamw.release()
    return tensors
  }
  const [own, plain] = [await after(counted), await after(graphs)]
  expect(calls).toBe(6)
  for (const name of ["parameter", "first", "second"] as const) {
    const [a, b] = [values(own[name]), values(plain[name])]
    expect(Buffer.from(a.buffer).equals(Buffer.from(b.buffer)), name).toBe(true)
  }
})
