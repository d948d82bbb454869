import { type TensorToWrite, writeSafetensors } from "../../formats/index.ts"
import type { FixedBatches } from "../../train/batches.ts"

/**
 * Writes what the rows of prepared data bring to the objective, a number a row by name (`pair_sign`
 * of labels, `row_weight` and `advantage` of rewards), for a worker that does not make them itself.
 * What is a number a token it makes itself.
 *
 * @returns the file's path; undefined where they bring nothing
 */
export async function writeRowColumns(
  path: string,
  batches: Pick<FixedBatches, "sequences">,
  rows: number,
): Promise<string | undefined> {
  const first = rows > 0 ? (batches.sequences(0)[0]?.columns ?? {}) : {}
  if (!Object.values(first).some((value) => typeof value === "number")) return undefined
  const columns = new Map<string, Float32Array>()
  for (let index = 0; index < rows; index++) {
    const [row, ...others] = batches.sequences(index)
    if (others.length > 0) return undefined // the sides of a pair are known by their place
    for (const [name, value] of Object.entries(row!.columns ?? {})) {
      if (typeof value !== "number") continue
      const values = columns.get(name) ?? new Float32Array(rows)
      values[index] = value
      columns.set(name, values)
    }
  }
  if (columns.size === 0) return undefined
  const tensors = [...columns].map(
    ([name, values]): TensorToWrite => ({
      name,
      dtype: "F32",
      shape: [rows],
      data: new Uint8Array(values.buffer),
    }),
  )
  await writeSafetensors(path, tensors)
  return path
}
