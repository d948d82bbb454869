import { afterAll, describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { dequantize, graph, input } from "../../src/graph/index.ts"
import {
  dequantizeMatrix,
  quantizedBytesPerWeight,
  quantizedTensors,
  quantizeMatrix,
} from "../../src/models/index.ts"
import { randomStream } from "../../src/random.ts"
import { openDevice } from "../../src/runtime/node.ts"

const OUT = 6
const IN = 100 // groupSize divides it in no case: the last group is padded

function weights(name: string, shift = 0): Float32Array {
  const random = randomStream(0, name)
  return Float32Array.from({ length: OUT * IN }, () => (random() + random() - 1 + shift) * 0.1)
}

const device = await openDevice({ device: "cpu", threads: 1 })
afterAll(() => device.release())

const cases = ([4, 8] as const).flatMap((bits) =>
  [32, 64, 128].flatMap((groupSize) =>
    [false, true].map((symmetric) => ({ bits, groupSize, symmetric })),
  ),
)
const sizes = { outFeatures: OUT, inFeatures: IN }

describe.each(cases)("int$bits, groups of $groupSize, symmetric $symmetric", (options) => {
  test("an element is off by at most half a step, or a whole one where symmetry costs it", () => {
    const weight = weights("plain")
    const matrix = quantizeMatrix(weight, sizes, options)
    const back = dequantizeMatrix(matrix)
    weight.forEach((value, i) => {
      const group = Math.floor(i / IN) * matrix.groups + Math.floor((i % IN) / options.groupSize)
      const step = Math.abs(matrix.scales[group]!)
      const limit = (options.symmetric ? 1 : 0.5) * step * (1 + 1e-5)
      // An asymmetric grid is shifted to a whole zero point, which costs the ends another half.
      const end = options.symmetric ? 0 : 0.5 * step
      expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(limit + end)
    })
  })
  test("values on the grid come back exactly, zero among them", () => {
    const once = dequantizeMatrix(quantizeMatrix(weights("grid"), sizes, options))
    const zeroed = once.map((value, i) => (i % 7 === 0 ? 0 : value))
    const again = dequantizeMatrix(quantizeMatrix(zeroed, sizes, options))
    zeroed.forEach((value, i) => {
      if (value === 0) expect(again[i]! + 0).toBe(0)
    })
  })
  test("the engine's dequantize gives the same weights", async () => {
    const matrix = quantizeMatrix(weights("engine", 0.5), sizes, options)
    const tensors = quantizedTensors(matrix)
    const weight = dequantize(
      {
        codes: input("codes", tensors.codes.shape, "u8"),
        scales: input("scales", tensors.scales.shape),
        zeros: input("zeros", tensors.zeros.shape, "u8"),
      },
      { ...options, inFeatures: IN },
    )
    const executable = await device.compile(graph("dequantize", { weight }))
    const result = await executable.run({
      codes: await device.upload(tensors.codes),
      scales: await device.upload(tensors.scales),
      zeros: await device.upload(tensors.zeros),
    })
    const got = (await device.download(result.weight!)).data as Float32Array
    expect(Array.from(got)).toEqual(Array.from(dequantizeMatrix(matrix)))
    await executable.release()
  })
})

test("eight bits are sixteen times finer than four, and asymmetric serves a shifted weight better", () => {
  const error = (bits: 4 | 8, symmetric: boolean) => {
    const weight = weights("shifted", 1)
    const back = dequantizeMatrix(quantizeMatrix(weight, sizes, { bits, symmetric }))
    return Math.sqrt(weight.reduce((sum, value, i) => sum + (value - back[i]!) ** 2, 0))
  }
  expect(error(4, false) / error(8, false)).toBeGreaterThan(12)
  expect(error(4, false) / error(8, false)).toBeLessThan(22)
  expect(error(4, false)).toBeLessThan(error(4, true))
})

test("a group of zeros stays zero", () => {
  for (const symmetric of [false, true]) {
    const zeros = new Float32Array(64)
    const matrix = quantizeMatrix(zeros, { outFeatures: 1, inFeatures: 64 }, { bits: 4, symmetric })
    expect(dequantizeMatrix(matrix).every((value) => value === 0)).toBe(true)
  }
})

test("the bytes per weight are those of the tensors", () => {
  for (const bits of [4, 8] as const) {
    const aligned = { outFeatures: 8, inFeatures: 256 }
    const tensors = quantizedTensors(
      quantizeMatrix(new Float32Array(8 * 256), aligned, { bits, groupSize: 64 }),
    )
    const bytes = Object.values(tensors).reduce((sum, { data }) => sum + data.byteLength, 0)
    expect(bytes / (8 * 256)).toBe(quantizedBytesPerWeight({ bits, groupSize: 64 }))
  }
})

test("a group size without kernels, and weights that are not finite, are refused", () => {
  const weight = weights("plain")
  expect(() => quantizeMatrix(weight, sizes, { bits: 4, groupSize: 48 })).toThrow(InputError)
  weight[250] = Number.NaN
  expect(() => quantizeMatrix(weight, sizes, { bits: 4 })).toThrow(/row 2.*not finite/)
  weight[250] = Number.POSITIVE_INFINITY
  expect(() => quantizeMatrix(weight, sizes, { bits: 8 })).toThrow(/row 2.*not finite/)
})
