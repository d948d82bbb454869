import type { RunOrder } from "../../src/data/order.ts"
import type { Prepared } from "../../src/data/prepared.ts"

export interface PlainRow {
  readonly token_ids: readonly number[]
  readonly loss_mask: readonly number[]
}

/** Rows in memory under the interface of a prepared folder; a row's `line` is its index from 1. */
export function memoryRows(rows: readonly PlainRow[]): Prepared {
  return {
    dir: "memory",
    manifest: {} as Prepared["manifest"], // the loop reads rows only
    rows: rows.length,
    lengths: Int32Array.from(rows, (row) => row.token_ids.length),
    row: (index) => ({
      tokenIds: Int32Array.from(rows[index]!.token_ids),
      lossMask: Uint8Array.from(rows[index]!.loss_mask),
      tokenClass: new Uint8Array(rows[index]!.token_ids.length),
      source: "memory",
      line: index + 1,
      weight: 1,
    }),
    pair: () => {
      throw new Error("no pairs")
    },
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
