/**
 * `reference-*.safetensors` beside prepared rows: a reference's log-probabilities, with their hash.
 */
import { createHash } from "node:crypto"
import { existsSync } from "node:fs"
import { basename } from "node:path"
import { InputError } from "../errors.ts"
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../formats/index.ts"
import { bytesOf } from "./tensor-to-write.ts"

/** By row of the data (or by step), by sequence: one number a supervised token. */
export type ReferenceRows = Map<number, Float32Array[]>

const TENSORS = ["rows", "sides", "lengths", "ref_logp"] as const
type Parts = Readonly<Record<(typeof TENSORS)[number], Uint8Array>>

/** Of what the file is for, which its name says, and of its content. */
function hashOf(path: string, parts: Parts): string {
  const hash = createHash("sha256").update(basename(path))
  for (const name of TENSORS) hash.update(`\0${parts[name].length}\0`).update(parts[name])
  return hash.digest("hex")
}

/**
 * What was measured, when the file is whole; else nothing, and it is measured again. A file of an
 * earlier version has no hash: nothing tells whether it is right.
 */
export async function readReference(
  path: string,
  onDamage?: (damage: string) => void,
): Promise<ReferenceRows> {
  if (!existsSync(path)) return new Map()
  try {
    const reader = await openSafetensors(path)
    try {
      const { sha256 } = reader.metadata
      if (sha256 === undefined) return new Map()
      const read = await Promise.all(TENSORS.map(async (name) => [name, await reader.read(name)]))
      const parts = Object.fromEntries(read) as Parts
      if (hashOf(path, parts) === sha256) return rowsOf(parts)
      onDamage?.(`${path}: its content is not what was written`)
    } finally {
      await reader.close()
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    onDamage?.(error.message)
  }
  return new Map()
}

function rowsOf({ rows, sides, lengths, ref_logp }: Parts): ReferenceRows {
  const ints = (bytes: Uint8Array) => new Int32Array(bytes.slice().buffer)
  const [sidesOf, lengthsOf] = [ints(sides), ints(lengths)]
  const values = new Float32Array(ref_logp.slice().buffer)
  let [at, sequence] = [0, 0]
  const found: ReferenceRows = new Map()
  for (const [i, row] of ints(rows).entries()) {
    const own = Array.from({ length: sidesOf[i]! }, () => {
      const part = values.slice(at, at + lengthsOf[sequence]!)
      at += lengthsOf[sequence++]!
      return part
    })
    found.set(row, own)
  }
  return found
}

/** `rows` [R], `sides` [R] sequences of each, `lengths` [sequences], `ref_logp` [tokens]. */
export async function writeReference(path: string, found: ReferenceRows): Promise<void> {
  const sorted = [...found].sort(([a], [b]) => a - b)
  const sequences = sorted.flatMap(([, own]) => own)
  const ints = (values: readonly number[]) => new Uint8Array(Int32Array.from(values).buffer)
  const parts: Parts = {
    rows: ints(sorted.map(([row]) => row)),
    sides: ints(sorted.map(([, own]) => own.length)),
    lengths: ints(sequences.map(({ length }) => length)),
    ref_logp: new Uint8Array(Buffer.concat(sequences.map(bytesOf))),
  }
  const tensors = TENSORS.map((name): TensorToWrite => {
    const data = parts[name]
    return { name, dtype: name === "ref_logp" ? "F32" : "I32", shape: [data.length / 4], data }
  })
  await writeSafetensors(path, tensors, { sha256: hashOf(path, parts) })
}
