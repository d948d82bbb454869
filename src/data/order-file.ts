import { join } from "node:path"
import { writeSafetensors } from "../formats/safetensors-files.ts"
import type { RunOrder } from "./order.ts"

/**
 * Writes `order.safetensors` for a worker that never shuffles: `order` I32 (rows of all steps, one
 * step after the other) and `step_offsets` I64 [steps + 1].
 *
 * @returns the file's path.
 */
export async function writeOrder(dir: string, order: RunOrder): Promise<string> {
  const path = join(dir, "order.safetensors")
  const rows = new Int32Array(order.rows)
  const offsets = new BigInt64Array(order.steps + 1)
  let at = 0
  for (let step = 0; step < order.steps; step++) {
    const taken = order.stepRows(step)
    rows.set(taken, at)
    at += taken.length
    offsets[step + 1] = BigInt(at)
  }
  await writeSafetensors(path, [
    { name: "order", dtype: "I32", shape: [rows.length], data: new Uint8Array(rows.buffer) },
    {
      name: "step_offsets",
      dtype: "I64",
      shape: [offsets.length],
      data: new Uint8Array(offsets.buffer),
    },
  ])
  return path
}
