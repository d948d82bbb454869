import { expect, test } from "vitest"
import { bf16ToFloat32, f16ToFloat32 } from "../../src/formats/index.ts"
import { withWideners } from "../../src/formats/widen.ts"

const ALL = Uint16Array.from({ length: 65536 }, (_, half) => half)
const bits = (floats: Float32Array) => new Uint32Array(floats.slice().buffer)

test.each([
  ["BF16", bf16ToFloat32],
  ["F16", f16ToFloat32],
] as const)("every %s widens to the bits that the plain loop gives", async (dtype, widen) => {
  const expected = bits(widen(ALL, new Float32Array(65536)))
  await withWideners(1, async ([widener]) => {
    widener!.halves.set(new Uint8Array(ALL.buffer))
    expect(bits(widener!.widen(dtype, 65536))).toEqual(expected)
    expect(widener!.widen(dtype, 3)).toHaveLength(3)
  })
})

test("known halves: one, the smallest and largest, infinity, not a number", () => {
  const halves = Uint16Array.of(0x3c00, 0x0001, 0x7bff, 0xfc00, 0x7e00, 0x8000)
  const floats = [...f16ToFloat32(halves, new Float32Array(6))]
  expect(floats).toEqual([1, 2 ** -24, 65504, Number.NEGATIVE_INFINITY, Number.NaN, -0])
})
