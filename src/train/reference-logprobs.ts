import { createHash } from "node:crypto"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../formats/index.ts"
import type { Decoder } from "../models/index.ts"
import type { FixedBatches, StepRow, StepRows } from "./batches.ts"
import { type MeasureOptions, sequenceLogprobs, sums } from "./sequence-logprobs.ts"

/** A frozen model that rows are measured with. */
export interface ReferenceModel {
  readonly decoder: Decoder
  /** Whether its adapter is switched on. */
  readonly adapter: boolean
}

export interface ReferenceOptions extends Pick<MeasureOptions, "split" | "signal"> {
  /** Folder of the prepared rows, beside which what was measured is kept. */
  readonly dir: string
  /** What the numbers depend on beside the rows: the weights, their precision. */
  readonly key: readonly unknown[]
  /** Opened only when something is to be measured. */
  readonly model: () => Promise<ReferenceModel>
  readonly onProgress?: (message: string) => void
}

/** Rows measured at once. */
const ROWS = 64

/**
 * The reference's log-probabilities of all rows of a run, measured once and kept beside the prepared
 * rows: per token, and of KTO's mismatched answers the sums, which depend on the order too. They come
 * to the steps as the column `ref_logp`.
 */
export async function withReference(
  batches: FixedBatches,
  options: ReferenceOptions,
): Promise<FixedBatches> {
  const byRow = await measuredRows(batches, options)
  const mismatched = await mismatchedSums(batches, options)
  const sequences = (index: number): StepRow[] =>
    batches.sequences(index).map((row, side) => ({
      ...row,
      columns: { ...row.columns, ref_logp: byRow.get(index)![side]! },
    }))
  return {
    ...batches,
    sequences,
    batch(step) {
      const taken: StepRows = batches.batch(step)
      const rows = batches.indices(step).flatMap(sequences)
      if (!taken.mismatched) return { ...taken, rows }
      const reference = mismatched.get(step)!
      return { ...taken, rows, mismatched: { ...taken.mismatched, reference } }
    },
  }
}

/** By row of the data, by sequence: one number a supervised token. */
async function measuredRows(
  batches: FixedBatches,
  options: ReferenceOptions,
): Promise<Map<number, Float32Array[]>> {
  const { dir, key, model, split, signal, onProgress } = options
  const order = Array.from({ length: batches.steps }, (_, i) => batches.indices(i + 1))
  const wanted = [...new Set(order.flat())].sort((a, b) => a - b)
  // Which rows are packed together decides how they round: a file holds what was measured at once.
  const path = join(dir, `reference-${shortHash([...key, wanted])}.safetensors`)
  const known = await readRows(path)
  if (known.size === wanted.length) return known
  const { decoder, adapter } = await model()
  for (let at = 0; at < wanted.length; at += ROWS) {
    const part = wanted.slice(at, at + ROWS)
    onProgress?.(`measuring the reference: row ${at} of ${wanted.length}`)
    const rows = part.map((index) => batches.sequences(index))
    const logprobs = await sequenceLogprobs(decoder, rows.flat(), { split, adapter, signal })
    let next = 0
    part.forEach((index, i) => {
      known.set(
        index,
        rows[i]!.map(() => logprobs[next++]!),
      )
    })
  }
  await writeRows(path, known)
  return known
}

/** By step: the sum over each mismatched answer's tokens. Empty for other objectives. */
async function mismatchedSums(
  batches: FixedBatches,
  { dir, key, model, split, signal, onProgress }: ReferenceOptions,
): Promise<Map<number, Float32Array>> {
  const first = batches.batch(1)
  if (!first.mismatched) return new Map()
  const order = Array.from({ length: batches.steps }, (_, i) => batches.indices(i + 1))
  const path = join(dir, `reference-${shortHash([...key, order])}.safetensors`)
  const known = new Map([...(await readRows(path))].map(([step, [values]]) => [step, values!]))
  if (known.size === batches.steps) return known
  const { decoder, adapter } = await model()
  for (let step = 1; step <= batches.steps; step++) {
    onProgress?.(`measuring the reference: step ${step} of ${batches.steps}`)
    const { rows } = batches.batch(step).mismatched!
    const logprobs = await sequenceLogprobs(decoder, rows, { split, adapter, signal })
    known.set(step, Float32Array.from(sums(logprobs)))
  }
  await writeRows(path, new Map([...known].map(([step, values]) => [step, [values]])))
  return known
}

const shortHash = (value: unknown) =>
  createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 16)

async function readRows(path: string): Promise<Map<number, Float32Array[]>> {
  const found = new Map<number, Float32Array[]>()
  if (!existsSync(path)) return found
  const reader = await openSafetensors(path)
  try {
    const rows = new Int32Array((await reader.read("rows")).buffer)
    const sides = new Int32Array((await reader.read("sides")).buffer)
    const lengths = new Int32Array((await reader.read("lengths")).buffer)
    const values = await reader.readFloat32("ref_logp")
    let at = 0
    let sequence = 0
    rows.forEach((row, i) => {
      const own = Array.from({ length: sides[i]! }, () => {
        const part = values.slice(at, at + lengths[sequence]!)
        at += lengths[sequence++]!
        return part
      })
      found.set(row, own)
    })
    return found
  } finally {
    await reader.close()
  }
}

/** `rows` [R], `sides` [R] sequences of each, `lengths` [sequences], `ref_logp` [tokens]. */
async function writeRows(path: string, found: ReadonlyMap<number, Float32Array[]>): Promise<void> {
  const sorted = [...found].sort(([a], [b]) => a - b)
  const sequences = sorted.flatMap(([, own]) => own)
  const ints = (name: string, values: readonly number[]): TensorToWrite => {
    const { buffer } = Int32Array.from(values)
    return { name, dtype: "I32", shape: [values.length], data: new Uint8Array(buffer) }
  }
  const all = new Float32Array(sequences.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of sequences) {
    all.set(part, at)
    at += part.length
  }
  await writeSafetensors(path, [
    ints(
      "rows",
      sorted.map(([row]) => row),
    ),
    ints(
      "sides",
      sorted.map(([, own]) => own.length),
    ),
    ints(
      "lengths",
      sequences.map(({ length }) => length),
    ),
    { name: "ref_logp", dtype: "F32", shape: [all.length], data: new Uint8Array(all.buffer) },
  ])
}
