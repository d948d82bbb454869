import { join } from "node:path"
import { openSafetensors, writeSafetensors } from "../formats/safetensors-files.ts"
import { HashSet, hashHalves } from "./hash-set.ts"
import { MAX_EXAMPLES, type Tally } from "./lints.ts"

export const HASHES_FILE = "hashes.safetensors"

/** 64-bit hashes of the rows of a prepared folder, collected while it is made. */
export interface RowHashes {
  add(rows: BigInt64Array, prompts: BigInt64Array): void
  /** `hashes.safetensors`: `row_hash` and `prompt_hash`, I64 [R]. */
  write(dir: string): Promise<void>
  /** Rows equal to an earlier one; `place` says where a row stands. */
  duplicates(place: (row: number) => string): Tally
}

export function rowHashes(): RowHashes {
  const rows: BigInt64Array[] = []
  const prompts: BigInt64Array[] = []
  return {
    add(rowPart, promptPart) {
      rows.push(rowPart)
      prompts.push(promptPart)
    },
    async write(dir) {
      const tensor = (name: string, parts: readonly BigInt64Array[]) => {
        const all = joined(parts)
        const data = new Uint8Array(all.buffer, all.byteOffset, all.byteLength)
        return { name, dtype: "I64" as const, shape: [all.length], data }
      }
      await writeSafetensors(join(dir, HASHES_FILE), [
        tensor("row_hash", rows),
        tensor("prompt_hash", prompts),
      ])
    },
    duplicates(place) {
      const seen = new HashSet(rows.reduce((sum, { length }) => sum + length, 0))
      const examples: string[] = []
      let count = 0
      let row = 0
      for (const part of rows) {
        const halves = hashHalves(part)
        for (let i = 0; i < halves.length; i += 2, row++) {
          if (seen.add(halves[i]!, halves[i + 1]!)) continue
          count++
          if (examples.length < MAX_EXAMPLES) examples.push(place(row))
        }
      }
      return { count, examples }
    },
  }
}

function joined(parts: readonly BigInt64Array[]): BigInt64Array {
  const all = new BigInt64Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Hashes of the questions of a prepared folder's rows: [R] */
export const promptHashes = (dir: string): Promise<BigInt64Array> => hashesIn(dir, "prompt_hash")

/** Hashes of a prepared folder's rows, equal where their tokens are: [R] */
export const rowHashesIn = (dir: string): Promise<BigInt64Array> => hashesIn(dir, "row_hash")

async function hashesIn(dir: string, name: string): Promise<BigInt64Array> {
  const reader = await openSafetensors(join(dir, HASHES_FILE))
  try {
    return new BigInt64Array((await reader.read(name)).buffer)
  } finally {
    await reader.close()
  }
}
