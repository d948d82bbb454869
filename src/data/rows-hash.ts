import { createHash, type Hash } from "node:crypto"
import { join } from "node:path"
import { openSafetensors } from "../formats/index.ts"
import type { Manifest } from "./prepared.ts"
import { sidesOf } from "./prepared.ts"

/**
 * What rows are, whatever made them: their ids, masks, classes and weights in their order, and what
 * their sources weigh. Each column is hashed as one stream, so that batches and shards do not
 * matter.
 */
export interface RowsHasher {
  /** One batch a side (the only one, or chosen and rejected). */
  append(sides: readonly Columns[]): void
  /** SHA-256, in hexadecimal. */
  digest(sources: Manifest["sources"]): string
}

const COLUMNS = ["tokenIds", "lossMask", "tokenClass", "lengths", "weights"] as const
type Column = (typeof COLUMNS)[number]
type Columns = Readonly<Record<Column, Int32Array | Uint8Array | Float32Array>> & {
  /** Labels or rewards, where rows have them. */
  readonly values?: Float32Array
}

export function rowsHasher(): RowsHasher {
  const sides: Record<Column, Hash>[] = []
  let values: Hash | undefined
  return {
    append(batches) {
      for (const [i, batch] of batches.entries()) {
        sides[i] ??= Object.fromEntries(
          COLUMNS.map((column) => [column, createHash("sha256")]),
        ) as Record<Column, Hash>
        for (const column of COLUMNS) {
          const { buffer, byteOffset, byteLength } = batch[column]
          sides[i][column].update(new Uint8Array(buffer, byteOffset, byteLength))
        }
        if (batch.values) {
          values ??= createHash("sha256")
          values.update(new Uint8Array(batch.values.slice().buffer))
        }
      }
    },
    digest(sources) {
      const columns = sides.map((side) => COLUMNS.map((column) => side[column].digest("hex")))
      const weighed = sources.map(({ rows, weight }) => [rows, weight])
      const more = values ? [values.digest("hex")] : []
      return createHash("sha256")
        .update(JSON.stringify([columns, weighed, ...more]))
        .digest("hex")
    },
  }
}

/** The same of a prepared folder; those of 0.1.0 do not say it themselves. */
export async function hashOfRows(dir: string, manifest: Manifest): Promise<string> {
  if (manifest.rows_sha256 !== undefined) return manifest.rows_sha256
  const hasher = rowsHasher()
  for (const { file, rows } of manifest.shards) {
    const reader = await openSafetensors(join(dir, file))
    try {
      const sides = []
      for (const prefix of sidesOf(manifest.purpose)) {
        const bytes = async (name: string) => (await reader.read(`${prefix}${name}`)).buffer
        const offsets = new BigInt64Array(await bytes("row_offsets"))
        sides.push({
          tokenIds: new Int32Array(await bytes("token_ids")),
          lossMask: new Uint8Array(await bytes("loss_mask")),
          tokenClass: new Uint8Array(await bytes("token_class")),
          lengths: Int32Array.from({ length: rows }, (_, r) =>
            Number(offsets[r + 1]! - offsets[r]!),
          ),
          weights: reader.tensors.has(`${prefix}row_weight`)
            ? new Float32Array(await bytes("row_weight"))
            : new Float32Array(rows).fill(1),
        })
      }
      hasher.append(sides)
    } finally {
      await reader.close()
    }
  }
  return hasher.digest(manifest.sources)
}
