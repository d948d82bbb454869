import type { RunOrder } from "../../src/data/order.ts"
import type { Prepared } from "../../src/data/prepared.ts"

export interface PlainRow {
  readonly token_ids: readonly number[]
  readonly loss_mask: readonly number[]
  readonly weight?: number
  readonly value?: number
}

/** Rows in memory under the interface of a prepared folder; a row's `line` is its index from 1. */
export function memoryRows(rows: readonly PlainRow[]): Prepared {
  return memorySequences(rows.map((row) => [row]))
}

/** Pairs likewise. */
export function memoryPairs(
  pairs: readonly { readonly chosen: PlainRow; readonly rejected: PlainRow }[],
): Prepared {
  return memorySequences(pairs.map(({ chosen, rejected }) => [chosen, rejected]))
}

function memorySequences(rows: readonly (readonly PlainRow[])[]): Prepared {
  const prepared = (row: PlainRow, index: number) => ({
    tokenIds: Int32Array.from(row.token_ids),
    lossMask: Uint8Array.from(row.loss_mask),
    tokenClass: new Uint8Array(row.token_ids.length),
    source: "memory",
    line: index + 1,
    weight: row.weight ?? 1,
    value: row.value ?? 0,
  })
  const sequences = (index: number) => rows[index]!.map((row) => prepared(row, index))
  const lengths = (index: number) => rows[index]!.map((row) => row.token_ids.length)
  return {
    dir: "memory",
    manifest: {} as Prepared["manifest"], // the loop reads rows only
    rows: rows.length,
    lengths: Int32Array.from(rows, (_, index) => lengths(index).reduce((a, b) => a + b, 0)),
    sequences,
    sequenceLengths: lengths,
    row: (index) => sequences(index)[0]!,
    pair: (index) => ({ chosen: sequences(index)[0]!, rejected: sequences(index)[1]! }),
    place: (index) => `memory:${index + 1}`,
    close: () => {},
  }
}

/** Steps over a given running order. */
export function fixedOrder(order: readonly number[], batchSize: number, rows: number): RunOrder {
  return {
    steps: Math.ceil(order.length / batchSize),
    rowsPerEpoch: rows,
    rows: order.length,
    stepRows: (step) => Int32Array.from(order.slice(step * batchSize, (step + 1) * batchSize)),
    epochAt: (step) => Math.min(order.length, step * batchSize) / rows,
  }
}
