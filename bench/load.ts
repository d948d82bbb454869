/**
 * Loading weights: reading safetensors into float32 beside reading the same file and nothing else.
 *
 *     npm run bench -- load [--model FOLDER] [--rounds 5]
 *
 * Without a model folder a file of Qwen2.5-0.5B's size is written to a temporary folder, once in
 * bfloat16 and once in float32. The file is in the page cache, which is the harder case for the
 * reader that also converts. Each is measured in turns twice: into memory that is already there, and
 * into fresh memory, which costs page faults (for float32 from bfloat16 twice as many).
 */
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { open } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import {
  type Dtype,
  openCheckpoint,
  type TensorToWrite,
  writeCheckpoint,
} from "../src/formats/index.ts"

/** Qwen2.5-0.5B: names do not matter here, sizes do. */
const SHAPES: readonly (readonly [count: number, shape: readonly number[]])[] = [
  [1, [151936, 896]],
  [48, [896, 896]],
  [48, [128, 896]],
  [72, [4864, 896]],
  [49, [896]],
]

function tensors(dtype: Dtype, bytesPerElement: number): TensorToWrite[] {
  return SHAPES.flatMap(([count, shape], k) =>
    Array.from({ length: count }, (_, i) => ({
      name: `tensor.${k}.${i}`,
      dtype,
      shape,
      data: () => {
        const elements = shape.reduce((product, size) => product * size, 1)
        const half = Uint16Array.from({ length: 4096 }, (_, j) => 0x3c00 + ((j * 37) & 0x3ff))
        const bytes = Buffer.alloc(elements * bytesPerElement)
        bytes.fill(new Uint8Array(half.buffer))
        return bytes
      },
    })),
  )
}

const PIECE = 1 << 20

/** The whole file in order, into one piece of memory: what the disk and the kernel can do. */
async function readPlain(path: string): Promise<number> {
  const handle = await open(path, "r")
  const memory = new Uint8Array(PIECE)
  try {
    const start = performance.now()
    for (let at = 0; ; ) {
      const { bytesRead } = await handle.read(memory, 0, PIECE, at)
      if (bytesRead === 0) return performance.now() - start
      at += bytesRead
    }
  } finally {
    await handle.close()
  }
}

/** Reading into memory of the weights' own size, as loading has to: fresh pages cost time too. */
async function readWhole(path: string): Promise<number> {
  const { size } = statSync(path)
  const handle = await open(path, "r")
  try {
    const start = performance.now()
    const memory = new Uint8Array(size)
    for (let at = 0; at < size; ) {
      const { bytesRead } = await handle.read(memory, at, Math.min(1 << 30, size - at), at)
      at += bytesRead
    }
    return performance.now() - start
  } finally {
    await handle.close()
  }
}

/** Every tensor into fresh memory. */
async function readFloats(folder: string): Promise<{ milliseconds: number; floats: number }> {
  const start = performance.now()
  const reader = await openCheckpoint(folder)
  const all: Float32Array[] = []
  for (const name of reader.tensors.keys()) all.push(await reader.readFloat32(name))
  await reader.close()
  const floats = all.reduce((sum, { length }) => sum + length, 0)
  return { milliseconds: performance.now() - start, floats }
}

/** Every tensor into one piece of memory that is already there: reading and converting alone. */
async function readFloatsInPlace(folder: string): Promise<number> {
  const reader = await openCheckpoint(folder)
  const sizes = [...reader.tensors].map(
    ([name, { shape }]) => [name, shape.reduce((product, size) => product * size, 1)] as const,
  )
  const memory = new Float32Array(Math.max(...sizes.map(([, size]) => size))).fill(1)
  const start = performance.now()
  for (const [name, size] of sizes) await reader.readFloat32(name, memory.subarray(0, size))
  const milliseconds = performance.now() - start
  await reader.close()
  return milliseconds
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]!

async function measure(folder: string, path: string, rounds: number): Promise<void> {
  const bytes = statSync(path).size
  const plain: number[] = []
  const whole: number[] = []
  const inPlace: number[] = []
  const loaded: number[] = []
  let factor = 0
  let floats = 0
  for (let round = 0; round < rounds; round++) {
    plain.push(await readPlain(path))
    inPlace.push(await readFloatsInPlace(folder))
    const before = process.memoryUsage.rss()
    let peak = 0
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss())
    }, 10)
    const load = await readFloats(folder)
    clearInterval(watch)
    floats = load.floats
    // Later rounds may reuse or still hold the memory of earlier ones.
    if (round === 0) factor = (peak - before) / (4 * floats)
    loaded.push(load.milliseconds)
    whole.push(await readWhole(path))
  }
  const rate = (milliseconds: readonly number[]) =>
    `${(bytes / 1e6 / median(milliseconds)).toFixed(2)} GB/s`
  const share = (ours: readonly number[], other: readonly number[]) =>
    `${rate(ours)}, ${(median(other) / median(ours)).toFixed(2)} of the file's`
  console.log(`${path}: ${(bytes / 1e9).toFixed(2)} GB, ${(floats / 1e6).toFixed(0)} M parameters`)
  console.log(`  memory that is there: file ${rate(plain)}, float32 ${share(inPlace, plain)}`)
  console.log(`  fresh memory:         file ${rate(whole)}, float32 ${share(loaded, whole)}`)
  console.log(`  memory at its peak:   ${factor.toFixed(2)} times the float32 weights`)
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { model: { type: "string" }, rounds: { type: "string", default: "5" } },
  })
  const rounds = Number(values.rounds)
  if (values.model !== undefined) {
    await measure(values.model, join(values.model, "model.safetensors"), rounds)
    return
  }
  const root = mkdtempSync(join(tmpdir(), "dftune-load-"))
  try {
    for (const [dtype, bytes] of [
      ["BF16", 2],
      ["F32", 4],
    ] as const) {
      const folder = join(root, dtype)
      await writeCheckpoint(folder, tensors(dtype, bytes))
      console.log(dtype)
      await measure(folder, join(folder, "model.safetensors"), rounds)
      rmSync(folder, { recursive: true })
    }
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}
