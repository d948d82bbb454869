import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import {
  GGUF_BLOCKS,
  GGUF_ENCODINGS,
  type GgufMetadata,
  type GgufReader,
  type GgufTensor,
  type GgufType,
  type GgufValue,
  ggufValues,
  openGguf,
  type WrittenGgufType,
  writeGguf,
} from "../../src/formats/index.ts"
import { fc } from "../seeded-check.ts"

const BLOCKS = fileURLToPath(new URL("../../golden/gguf/blocks.gguf", import.meta.url))
const REFERENCE = fileURLToPath(new URL("../../golden/gguf/reference.gguf", import.meta.url))
const TYPES = Object.keys(GGUF_ENCODINGS) as WrittenGgufType[]
const READ = Object.keys(GGUF_BLOCKS) as GgufType[]

const root = mkdtempSync(join(tmpdir(), "dftune-gguf-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

async function opened<T>(path: string, use: (file: GgufReader) => Promise<T>): Promise<T> {
  const file = await openGguf(path)
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}

const value = (metadata: GgufMetadata, key: string): GgufValue["value"] => metadata.get(key)!.value

test("metadata of every kind that Python's gguf writes is read", async () => {
  const { metadata } = await opened(REFERENCE, async (file) => file)
  expect(value(metadata, "general.architecture")).toBe("llama")
  const read = Object.fromEntries([...metadata].map(([key, { value }]) => [key, value]))
  expect(read).toMatchObject({
    "kind.uint8": 200,
    "kind.int8": -100,
    "kind.uint16": 60_000,
    "kind.int16": -30_000,
    "kind.uint32": 4_000_000_000,
    "kind.int32": -2_000_000_000,
    "kind.float32": Math.fround(0.1),
    "kind.bool": true,
    "kind.string": "Größe 😀\n",
    "kind.uint64": 2n ** 63n,
    "kind.int64": -(2n ** 62n),
    "kind.float64": 0.1,
    "kind.strings": ["a", "", "▁b"],
    "kind.floats": [0.5, -1.25],
    "kind.ints": [1, 6],
    "kind.bools": [true, false],
  })
  for (const [key, { kind }] of metadata)
    if (/kind\.\w+\d/.test(key)) expect(key).toBe(`kind.${kind}`)
})

const K_TYPES: readonly string[] = ["Q4_K", "Q5_K", "Q6_K"]

test.each(TYPES.filter((type) => !K_TYPES.includes(type)))(
  "%s: the bytes and the values are those of gguf.quants",
  async (type) => {
    await opened(REFERENCE, async (file) => {
      const values = await file.readFloat32("F32")
      const stored = await file.read(type)
      expect(GGUF_ENCODINGS[type].encode(values)).toEqual(stored)
      const { bound } = GGUF_ENCODINGS[type]
      const perBlock = GGUF_BLOCKS[type].values
      const back = await file.readFloat32(type)
      expect(back.length).toBe(values.length)
      for (let from = 0; from < values.length; from += perBlock) {
        const block = values.subarray(from, from + perBlock)
        const largest = Math.max(...block.map(Math.abs))
        block.forEach((x, i) => {
          expect(Math.abs(back[from + i]! - x)).toBeLessThanOrEqual(bound(x, largest))
        })
      }
    })
  },
)

const HELD_ELSEWHERE: readonly GgufType[] = ["F32", "F16", "BF16"]

test.each(READ.filter((type) => !HELD_ELSEWHERE.includes(type)))(
  "%s: drawn bytes are the values of gguf.quants, bit for bit",
  async (type) => {
    await opened(BLOCKS, async (file) => {
      const meant = await file.readFloat32(`${type}.values`)
      const values = await file.readFloat32(type)
      expect(new Uint32Array(values.buffer)).toEqual(new Uint32Array(meant.buffer))
      const second = await file.readRows(type, 256, 256)
      expect(second).toEqual(meant.slice(256))
    })
  },
)

test("what is read of a file, written again, is the same file", async () => {
  const path = join(root, "again.gguf")
  await opened(REFERENCE, async (file) => {
    const tensors = [...file.tensors].map(([name, { type, shape }]): GgufTensor => {
      return {
        name,
        type: type as WrittenGgufType,
        shape,
        values: () => file.readFloat32(name === "F32.odd" ? name : "F32"),
      }
    })
    await writeGguf(path, { metadata: file.metadata, tensors })
  })
  expect(readFileSync(path).equals(readFileSync(REFERENCE))).toBe(true)
})

test.each(TYPES)("%s: any finite block comes back within its bound", (type) => {
  const { encode, bound } = GGUF_ENCODINGS[type]
  const length = Math.max(32, GGUF_BLOCKS[type].values)
  const size = fc.integer({ min: -14, max: 12 })
  const block = fc.array(fc.float({ min: -1, max: 1, noNaN: true }), {
    minLength: length,
    maxLength: length,
  })
  fc.assert(
    fc.property(block, size, (unit, exponent) => {
      const values = Float32Array.from(unit, (x) => x * 2 ** exponent)
      const back = ggufValues(type, encode(values))
      const largest = Math.max(...values.map(Math.abs))
      values.forEach((x, i) => {
        expect(Math.abs(back[i]! - x)).toBeLessThanOrEqual(bound(x, largest))
      })
    }),
  )
})

test("a value that is not a number does not pass for one", () => {
  const values = new Float32Array(256).fill(1)
  values[7] = Number.NaN
  for (const type of TYPES) {
    const { encode } = GGUF_ENCODINGS[type]
    expect([...ggufValues(type, encode(values))].every(Number.isFinite)).toBe(false)
  }
})

test("a tensor whose making fails leaves no file, whole or half", async () => {
  const path = join(root, "absent.gguf")
  const tensor: GgufTensor = {
    name: "a",
    type: "F32",
    shape: [2],
    values: () => Promise.reject(new Error("stopped")),
  }
  await expect(writeGguf(path, { metadata: new Map(), tensors: [tensor] })).rejects.toThrow(
    "stopped",
  )
  await expect(openGguf(path)).rejects.toThrow(/no such file/)
})

/** A file by hand: numbers of 4 and 8 bytes, texts with their length. */
function raw(...parts: readonly (number | bigint | string | Uint8Array)[]): string {
  const bytes = parts.map((part) => {
    if (typeof part === "string") {
      const text = Buffer.from(part)
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(text.length))
      return Buffer.concat([length, text])
    }
    if (part instanceof Uint8Array) return part
    const number = Buffer.alloc(typeof part === "bigint" ? 8 : 4)
    if (typeof part === "bigint") number.writeBigUInt64LE(part)
    else number.writeUInt32LE(part)
    return number
  })
  const path = join(root, "raw.gguf")
  writeFileSync(path, Buffer.concat(bytes))
  return path
}
const MAGIC = 0x46554747
const [UINT32, BOOL, STRING, ARRAY, UINT8] = [4, 7, 8, 9, 0]
const [F32, Q8_0] = [0, 8]
/** Up to the next multiple of 32 and data of that many bytes. */
const data = (bytes: number) => new Uint8Array(bytes)
const one = (name: string, size: bigint, type: number, offset: bigint) =>
  [name, 1, size, type, offset] as const

test.each<[string, () => string, RegExp]>([
  ["an empty file", () => raw(), /cut short/],
  ["another kind of file", () => raw(0x04034b50, 3, 0n, 0n), /expected a GGUF file/],
  ["a version of big-endian machines", () => raw(MAGIC, 3 << 24, 0n, 0n), /version 2 or 3/],
  ["more tensors than bytes", () => raw(MAGIC, 3, 2n ** 40n, 0n), /number of tensors/],
  ["more keys than bytes", () => raw(MAGIC, 3, 0n, 2n ** 63n), /number of metadata keys/],
  [
    "a text longer than the file",
    () => raw(MAGIC, 3, 0n, 1n, 2n ** 50n, data(9)),
    /metadata key 0/,
  ],
  ["an unknown kind", () => raw(MAGIC, 3, 0n, 1n, "a", 77, 0n), /"a": expected a kind/],
  [
    "an array longer than the file",
    () => raw(MAGIC, 3, 0n, 1n, "a", ARRAY, BOOL, 2n ** 40n),
    /length of metadata "a"/,
  ],
  ["arrays of arrays", () => raw(MAGIC, 3, 0n, 1n, "a", ARRAY, ARRAY, 1n), /arrays of arrays/],
  [
    "an array of more elements than any vocabulary",
    () => raw(MAGIC, 3, 0n, 1n, "a", ARRAY, UINT8, 9_000_000n, data(9_000_000)),
    /at most 8000000 elements/,
  ],
  [
    "a key twice",
    () => raw(MAGIC, 3, 0n, 2n, "a", UINT32, 1, "a", UINT32, 2, data(8)),
    /key "a" twice/,
  ],
  [
    "bytes that are no text",
    () => raw(MAGIC, 3, 0n, 1n, "a", STRING, 2n, Uint8Array.of(0xff, 0xfe)),
    /"a" is not UTF-8/,
  ],
  [
    "an alignment of zero",
    () => raw(MAGIC, 3, 0n, 1n, "general.alignment", UINT32, 0),
    /general\.alignment/,
  ],
  [
    "a tensor of five dimensions",
    () => raw(MAGIC, 3, 1n, 0n, "t", 5, 1n, 1n, 1n, 1n, 1n, F32, 0n, data(64)),
    /at most 4 dimensions/,
  ],
  [
    "a type that is not read",
    () => raw(MAGIC, 3, 1n, 0n, ...one("t", 32n, 16, 0n), data(99)),
    /type of F32, .*got IQ2_XXS/,
  ],
  [
    "an absurd shape",
    () => raw(MAGIC, 3, 1n, 0n, "t", 2, 2n ** 40n, 2n ** 40n, F32, 0n, data(64)),
    /does not fit/,
  ],
  [
    "rows that are no whole blocks",
    () => raw(MAGIC, 3, 1n, 0n, ...one("t", 33n, Q8_0, 0n), data(99)),
    /not whole blocks/,
  ],
  [
    "a tensor past the end",
    () => raw(MAGIC, 3, 1n, 0n, ...one("t", 12n, F32, 0n), data(30)),
    /"t" ends after the file/,
  ],
  [
    "overlapping tensors",
    () => raw(MAGIC, 3, 2n, 0n, ...one("a", 4n, F32, 0n), ...one("b", 4n, F32, 0n), data(99)),
    /"b": expected its data at offset 32/,
  ],
  [
    "a tensor twice",
    () => raw(MAGIC, 3, 2n, 0n, ...one("a", 4n, F32, 0n), ...one("a", 4n, F32, 32n), data(99)),
    /"a" twice/,
  ],
  [
    "bytes that belong to nothing",
    () => raw(MAGIC, 3, 1n, 0n, ...one("t", 4n, F32, 0n), data(7 + 16 + 64)),
    /expected the file to end after its tensors/,
  ],
])("%s is refused by name", async (_, make, message) => {
  const path = make()
  await expect(openGguf(path)).rejects.toThrow(message)
  await expect(openGguf(path)).rejects.toBeInstanceOf(InputError)
  await expect(openGguf(path)).rejects.toThrow(/raw\.gguf/)
})

test("any damage gives an InputError or a file that can be read", async () => {
  const bytes = readFileSync(REFERENCE)
  const path = join(root, "damaged.gguf")
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(1100), fc.nat(255)), { maxLength: 4 }),
      fc.oneof(fc.constant(bytes.length), fc.nat(bytes.length)),
      async (changes, length) => {
        const copy = Buffer.from(bytes)
        for (const [at, byte] of changes) copy[at] = byte
        writeFileSync(path, copy.subarray(0, length))
        try {
          await opened(path, async (file) => {
            for (const name of file.tensors.keys()) await file.readFloat32(name)
          })
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
        }
      },
    ),
    { numRuns: 500 },
  )
})

test.each([
  ["Q4_K", 15],
  ["Q5_K", 31],
  ["Q6_K", 31],
] as const)("%s: values on its own grid come back as they were", (type, most) => {
  // Groups whose range is the same have whole scales: d = 63 (or 127) parts of the largest.
  const values = Float32Array.from({ length: 512 }, (_, i) => {
    const code = i % (most + 1)
    return type === "Q6_K" ? (i % 16 === 0 ? -32 : code - 15) : code
  })
  const back = ggufValues(type, GGUF_ENCODINGS[type].encode(values))
  const largest = Math.max(...values.map(Math.abs))
  values.forEach((x, i) => {
    expect(Math.abs(back[i]! - x)).toBeLessThan(largest / 1000)
  })
})
