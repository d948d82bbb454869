import { join } from "node:path"
import { fileHash } from "../formats/file-hash.ts"
import type { TensorToWrite } from "../formats/safetensors.ts"
import { writeSafetensors } from "../formats/safetensors-files.ts"
import type { Manifest } from "./prepared.ts"
import { sidesOf } from "./prepared.ts"
import type { Purpose } from "./rows/index.ts"
import { rowsHasher } from "./rows-hash.ts"

/** A shard is closed when it has this many tokens: about 25 MB, which also bounds memory. */
const SHARD_TOKENS = 4 * 2 ** 20

/** Rows of one side (the only one, or chosen, or rejected) on their way to a shard. */
export interface RowBatch {
  /** Rows one after the other: [N] */
  readonly tokenIds: Int32Array
  readonly lossMask: Uint8Array
  readonly tokenClass: Uint8Array
  /** Tokens of each row: [R] */
  readonly lengths: Int32Array
  readonly lines: Int32Array
  /** How often each row counts: [R] */
  readonly weights: Float32Array
  /** [R] labels or rewards, where rows have them. */
  readonly values?: Float32Array
}

interface Side {
  batches: RowBatch[]
}

/** Writes rows to numbered shards in a folder, in the order they come. */
export interface ShardWriter {
  /** One batch per side, all with the same rows; they come from source number `source`. */
  append(sides: readonly RowBatch[], source: number): Promise<void>
  finish(): Promise<Manifest["shards"]>
  /** What the rows are, when all are written. */
  rowsHash(sources: Manifest["sources"]): string
}

export function shardWriter(dir: string, purpose: Purpose): ShardWriter {
  const prefixes = sidesOf(purpose)
  const shards: { file: string; rows: number; tokens: number; sha256: string }[] = []
  let sides: Side[] = prefixes.map(() => ({ batches: [] }))
  let sources: { readonly source: number; readonly rows: number }[] = []
  let tokens = 0
  const hasher = rowsHasher()

  const flush = async (): Promise<void> => {
    const file = `shard-${String(shards.length).padStart(5, "0")}.safetensors`
    const path = join(dir, file)
    const rows = sources.reduce((sum, part) => sum + part.rows, 0)
    const rowSource = new Int32Array(rows)
    let at = 0
    for (const part of sources) {
      rowSource.fill(part.source, at, at + part.rows)
      at += part.rows
    }
    const tensors = sides.flatMap(({ batches }, i) => sideTensors(prefixes[i]!, batches, rowSource))
    await writeSafetensors(path, tensors)
    shards.push({ file, rows, tokens, sha256: await fileHash(path) })
    sides = prefixes.map(() => ({ batches: [] }))
    sources = []
    tokens = 0
  }

  return {
    async append(batches, source) {
      hasher.append(batches)
      for (const [i, batch] of batches.entries()) {
        sides[i]!.batches.push(batch)
        tokens += batch.tokenIds.length
      }
      sources.push({ source, rows: batches[0]!.lengths.length })
      if (tokens >= SHARD_TOKENS) await flush()
    },
    async finish() {
      if (tokens > 0) await flush()
      return shards
    },
    rowsHash: hasher.digest,
  }
}

function sideTensors(
  prefix: string,
  batches: readonly RowBatch[],
  rowSource: Int32Array,
): TensorToWrite[] {
  const tokens = batches.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
  const tokenIds = new Int32Array(tokens)
  const lossMask = new Uint8Array(tokens)
  const tokenClass = new Uint8Array(tokens)
  const rowOffsets = new BigInt64Array(rowSource.length + 1)
  const rowLine = new Int32Array(rowSource.length)
  const rowWeight = new Float32Array(rowSource.length)
  const rowValue = batches.some(({ values }) => values) ? new Float32Array(rowSource.length) : null
  let at = 0
  let row = 0
  for (const batch of batches) {
    tokenIds.set(batch.tokenIds, at)
    lossMask.set(batch.lossMask, at)
    tokenClass.set(batch.tokenClass, at)
    rowLine.set(batch.lines, row)
    rowWeight.set(batch.weights, row)
    if (batch.values) rowValue?.set(batch.values, row)
    for (const length of batch.lengths) {
      at += length
      rowOffsets[++row] = BigInt(at)
    }
  }
  const bytes = ({ buffer, byteOffset, byteLength }: Int32Array | BigInt64Array | Float32Array) =>
    new Uint8Array(buffer, byteOffset, byteLength)
  const rows = rowSource.length
  return [
    { name: `${prefix}token_ids`, dtype: "I32", shape: [tokens], data: bytes(tokenIds) },
    { name: `${prefix}loss_mask`, dtype: "U8", shape: [tokens], data: lossMask },
    { name: `${prefix}token_class`, dtype: "U8", shape: [tokens], data: tokenClass },
    { name: `${prefix}row_offsets`, dtype: "I64", shape: [rows + 1], data: bytes(rowOffsets) },
    { name: `${prefix}row_source`, dtype: "I32", shape: [rows], data: bytes(rowSource) },
    { name: `${prefix}row_line`, dtype: "I32", shape: [rows], data: bytes(rowLine) },
    ...(rowValue === null
      ? []
      : [
          {
            name: `${prefix}row_value`,
            dtype: "F32" as const,
            shape: [rows],
            data: bytes(rowValue),
          },
        ]),
    ...(rowWeight.every((weight) => weight === 1)
      ? []
      : [
          {
            name: `${prefix}row_weight`,
            dtype: "F32" as const,
            shape: [rows],
            data: bytes(rowWeight),
          },
        ]),
  ]
}
