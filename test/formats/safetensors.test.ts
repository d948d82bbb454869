import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import {
  bf16ToFloat32,
  f16ToFloat32,
  float32ToBf16,
  float32ToF16,
  openCheckpoint,
  openSafetensors,
  type TensorToWrite,
  writeCheckpoint,
  writeSafetensors,
} from "../../src/formats/index.ts"
import { fc } from "../seeded-check.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-safetensors-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const bytesOf = (data: Float32Array | Uint16Array) =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
const f32 = (name: string, values: readonly number[]): TensorToWrite => ({
  name,
  dtype: "F32",
  shape: [values.length],
  data: bytesOf(Float32Array.from(values)),
})

test("what is written is read back, with its metadata", async () => {
  const path = join(root, "round.safetensors")
  const half = Float32Array.of(1, -2.5, 65504, 0.1)
  await writeSafetensors(
    path,
    [
      f32("a", [1, 2, 3]),
      {
        name: "h",
        dtype: "F16",
        shape: [2, 2],
        data: bytesOf(float32ToF16(half, new Uint16Array(4))),
      },
      {
        name: "b",
        dtype: "BF16",
        shape: [4],
        data: bytesOf(float32ToBf16(half, new Uint16Array(4))),
      },
      { name: "i", dtype: "I64", shape: [1], data: new Uint8Array(8) },
    ],
    { format: "pt", made: "here" },
  )
  const file = await openSafetensors(path)
  expect(file.metadata).toEqual({ format: "pt", made: "here" })
  expect([...(await file.readFloat32("a"))]).toEqual([1, 2, 3])
  expect((await file.readFloat32("h"))[2]).toBe(65504)
  expect((await file.readFloat32("b"))[1]).toBe(-2.5)
  const row = new Float32Array(2)
  await file.readRows("h", 1, row)
  expect(row).toEqual((await file.readFloat32("h")).subarray(2))
  const both = new Float32Array(4)
  await file.readRows("h", 0, both)
  expect(both).toEqual(await file.readFloat32("h"))
  await expect(file.readRows("h", 1, both)).rejects.toThrow(/row 1 into 4/)
  await expect(file.readRows("h", 2, row)).rejects.toThrow(/row 2/)
  await expect(file.readRows("b", 0, row)).rejects.toThrow(/readRows of "b" \[4\]/)
  await expect(file.readFloat32("i")).rejects.toThrow(/tensor "i": expected F64, F32, F16 or BF16/)
  await expect(file.read("none")).rejects.toThrow(/no tensor "none"/)
  await file.close()
})

test("half precisions round to nearest, ties to even, and keep what is not a number", () => {
  fc.assert(
    fc.property(fc.float({ noDefaultInfinity: false }), (value) => {
      for (const [narrow, widen, bits] of [
        [float32ToBf16, bf16ToFloat32, 8],
        [float32ToF16, f16ToFloat32, 11],
      ] as const) {
        const halves = narrow(Float32Array.of(value), new Uint16Array(1))
        const back = widen(halves, new Float32Array(1))[0]!
        if (Number.isNaN(value)) expect(back).toBeNaN()
        else if (Number.isFinite(back) && Math.abs(value) > 1e-4) {
          expect(Math.abs(back - value)).toBeLessThanOrEqual(Math.abs(value) * 2 ** -bits)
        }
        // What is already of that precision comes through unchanged.
        const again = narrow(Float32Array.of(back), new Uint16Array(1))
        if (!Number.isNaN(back)) expect(again[0]).toBe(halves[0])
      }
    }),
  )
})

test("a checkpoint past its shard size is split, indexed and read as one", async () => {
  const tensors = Array.from({ length: 5 }, (_, i) => f32(`t${i}`, [i, i, i, i]))
  const files = await writeCheckpoint(root, tensors, { maxShardBytes: 40 })
  expect(files.length).toBeGreaterThan(1)
  const reader = await openCheckpoint(root)
  for (let i = 0; i < 5; i++) expect([...(await reader.readFloat32(`t${i}`))]).toEqual([i, i, i, i])
  await reader.close()
})

test("an index cannot lead out of its folder", async () => {
  const folder = mkdtempSync(join(root, "escape-"))
  const index = { weight_map: { a: "../round.safetensors" } }
  writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify(index))
  await expect(openCheckpoint(folder)).rejects.toThrow(InputError)
})

/** A file with a given header and `data` bytes behind it. */
function raw(header: unknown, data: number, length?: number): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(length ?? json.length))
  const path = join(root, "raw.safetensors")
  writeFileSync(path, Buffer.concat([size, json, Buffer.alloc(data)]))
  return path
}
const entry = (begin: number, end: number, more: object = {}) => {
  return { dtype: "F32", shape: [(end - begin) / 4], data_offsets: [begin, end], ...more }
}

test.each([
  ["a header longer than the file", () => raw({ a: entry(0, 8) }, 8, 1e9)],
  ["a header past any bound", () => raw({ a: entry(0, 8) }, 8, 2 ** 52)],
  ["no JSON", () => raw("{", 0)],
  ["a list", () => raw([], 0)],
  ["a tensor past the end", () => raw({ a: entry(0, 16) }, 8)],
  ["bytes that belong to nothing", () => raw({ a: entry(0, 8) }, 16)],
  ["overlapping tensors", () => raw({ a: entry(0, 8), b: entry(4, 12) }, 12)],
  ["a gap", () => raw({ a: entry(0, 4), b: entry(8, 12) }, 12)],
  ["a shape that is not its bytes", () => raw({ a: entry(0, 8, { shape: [3] }) }, 8)],
  ["an absurd shape", () => raw({ a: entry(0, 8, { shape: [2 ** 40, 2 ** 40] }) }, 8)],
  ["a negative offset", () => raw({ a: entry(-4, 4) }, 8)],
  ["an unknown dtype", () => raw({ a: entry(0, 8, { dtype: "F31" }) }, 8)],
])("%s is refused by name", async (_, make) => {
  await expect(openSafetensors(make())).rejects.toThrow(/raw\.safetensors/)
  await expect(openSafetensors(make())).rejects.toBeInstanceOf(InputError)
})

test("a header that is no JSON says where", async () => {
  await expect(openSafetensors(raw('{"a": }', 0))).rejects.toThrow(
    /raw\.safetensors: the header: expected JSON, got \} at column 7, where JSON has a value$/,
  )
})

test("any damage to the header or the length gives an InputError or the same tensors", async () => {
  const good = join(root, "good.safetensors")
  await writeSafetensors(good, [f32("a", [1, 2]), f32("b", [3])])
  const bytes = readFileSync(good)
  const headerEnd = 8 + Number(bytes.readBigUInt64LE(0))
  const path = join(root, "damaged.safetensors")
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: headerEnd - 1 }),
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 0, max: bytes.length }),
      async (at, value, length) => {
        const copy = Buffer.from(bytes)
        copy[at] = value
        writeFileSync(path, copy.subarray(0, length))
        try {
          const file = await openSafetensors(path)
          for (const name of file.tensors.keys()) await file.read(name)
          await file.close()
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      },
    ),
    { numRuns: 300 },
  )
})
