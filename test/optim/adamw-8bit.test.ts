import { afterAll, describe, expect, test } from "vitest"
import { codeMaps } from "../../src/optim/adamw-8bit.ts"
import {
  adamw8bit,
  type BlockKernel,
  type BlockMoments,
  createAdamW,
  updateBlocks,
  zeroMoments,
} from "../../src/optim/index.ts"
import { spread } from "../../src/runtime/conformance/op-cases.ts"
import { float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())
if (!device.updates) console.warn("NOT TESTED: the native update of eight-bit moments: no library")

const settings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1 }
const numbers = (length: number, seed: number, scale = 1) =>
  Float32Array.from(spread(length, [-scale, scale], seed))

describe("the 256 values", () => {
  const { signed, unsigned } = codeMaps()

  test("are those of dynamic quantisation: seven decades, 0 and 1", () => {
    expect(new Set(signed.values).size).toBe(256)
    expect(new Set(unsigned.values).size).toBe(256)
    expect([signed.values[0], signed.values[127], signed.values[255]]).toEqual([
      Math.fround(-(0.1 + (0.9 * 63.5) / 64)),
      0,
      1,
    ])
    expect(unsigned.values[0]).toBe(0)
    expect(unsigned.values[1]).toBeCloseTo(1e-6 * (0.1 + 0.9 / 4), 12)
    expect(signed.values[128]).toBeCloseTo(0.55e-6, 12)
  })

  test.each(["signed", "unsigned"] as const)("a number takes the nearest one (%s)", (kind) => {
    const { values, middles, first } = codeMaps()[kind]
    const bits = new Uint32Array(1)
    const number = new Float32Array(bits.buffer)
    const samples = [...values, ...middles, ...numbers(2000, 3), ...numbers(2000, 4, 1e-4)]
    for (const x of samples) {
      if (kind === "unsigned" && (x < 0 || (x > 0 && x < values[1]!))) continue
      number[0] = x
      let code = first[bits[0]! >>> 16]!
      while (code < 255 && x > middles[code]!) code++
      const apart = Math.abs(values[code]! - x)
      const least = values.reduce((most, value) => Math.min(most, Math.abs(value - x)), 9)
      expect(apart).toBeLessThanOrEqual(least * (1 + 1e-4))
    }
  })
})

async function steps(elements: number, count: number, kernel?: BlockKernel) {
  const parameter = numbers(elements, 1)
  const moments: BlockMoments = zeroMoments(elements)
  for (let step = 1; step <= count; step++) {
    const gradient = numbers(elements, 10 + step, step === 2 ? 0 : 0.01)
    const options = { step, learningRate: 1e-2, gradientScale: 0.5, decay: true }
    await adamw8bit({ parameter, gradient, moments }, settings, options, kernel)
  }
  return { parameter, moments }
}

test("stays near AdamW with float32 moments", async () => {
  const [elements, count] = [5000, 6]
  const eight = await steps(elements, count)
  const adamw = await createAdamW(device, settings)
  let tensors = {
    parameter: await device.upload(float32([elements], numbers(elements, 1))),
    first: await device.upload(float32([elements])),
    second: await device.upload(float32([elements])),
  }
  for (let step = 1; step <= count; step++) {
    const scale = step === 2 ? 0 : 0.01
    const gradient = await device.upload(float32([elements], numbers(elements, 10 + step, scale)))
    const options = { step, learningRate: 1e-2, gradientScale: 0.5, decay: true }
    tensors = await adamw.update({ ...tensors, gradient }, options)
  }
  await adamw.release()
  const start = numbers(elements, 1)
  const plain = tensors.parameter.data as Float32Array
  let [error, moved] = [0, 0]
  for (let i = 0; i < elements; i++) {
    error += (eight.parameter[i]! - plain[i]!) ** 2
    moved += (plain[i]! - start[i]!) ** 2
  }
  expect(Math.sqrt(error / moved)).toBeLessThan(0.05)
  expect(error).toBeGreaterThan(0)
})

test("a second moment above zero is never taken for zero", async () => {
  const moments = zeroMoments(256)
  const gradient = Float32Array.from({ length: 256 }, (_, i) => (i === 0 ? 1 : 1e-4))
  const parameter = new Float32Array(256)
  const at = { learningRate: 1e-2, gradientScale: 1, decay: false }
  await adamw8bit({ parameter, gradient, moments }, settings, { ...at, step: 1 })
  const still = new Float32Array(256)
  const before = parameter.slice()
  await adamw8bit({ parameter, gradient: still, moments }, settings, { ...at, step: 2 })
  for (const [i, value] of parameter.entries()) {
    expect(Math.abs(value - before[i]!)).toBeLessThan(2e-2)
  }
})

test("a block without gradient keeps zero moments, and only decays", async () => {
  const parameter = numbers(300, 1)
  const moments = zeroMoments(300)
  const options = { step: 1, learningRate: 0.1, gradientScale: 1, decay: true }
  await adamw8bit({ parameter, gradient: new Float32Array(300), moments }, settings, options)
  expect(Array.from(moments.first.scales)).toEqual([0, 0])
  const kept = numbers(300, 1).map((x) => Math.fround(x * Math.fround(0.99)))
  expect(parameter).toEqual(kept)
})

test.skipIf(!device.updates)("the native update has the bits of the plain one", async () => {
  let calls = 0
  const kernel: BlockKernel = ({ parameter, gradient, moments, scalars, maps }) => {
    calls++
    const { first, second } = moments
    return device.updates!.adamw8(
      ...[parameter, gradient, first.codes, first.scales, second.codes, second.scales, scalars],
      ...[maps.signed, maps.unsigned].flatMap(({ values, middles, first }) => [
        ...[values, middles, first],
      ]),
    )
  }
  const elements = 4096 * 256 + 777
  const [fast, plain] = [await steps(elements, 3, kernel), await steps(elements, 3)]
  expect(calls).toBe(6)
  expect(Buffer.from(fast.parameter.buffer).equals(Buffer.from(plain.parameter.buffer))).toBe(true)
  for (const kind of ["first", "second"] as const) {
    const [a, b] = [fast.moments[kind], plain.moments[kind]]
    expect(Buffer.from(a.codes).equals(Buffer.from(b.codes))).toBe(true)
    expect(Buffer.from(a.scales.buffer).equals(Buffer.from(b.scales.buffer))).toBe(true)
  }
})

test("updateBlocks is what adamw8bit does without a kernel", () => {
  const parameter = numbers(10, 1)
  const scalars = Float32Array.of(1, 0.1, 1e-8, 0.1, 0.05, 0.9, 0.95)
  const moments = zeroMoments(10)
  updateBlocks({ parameter, gradient: numbers(10, 2), moments, scalars, maps: codeMaps() })
  expect(moments.first.scales[0]).toBeGreaterThan(0)
})
