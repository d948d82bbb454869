import { createHash } from "node:crypto"
import { join } from "node:path"
import type { Decoder } from "../models/index.ts"
import type { FixedBatches, StepRow, StepRows } from "./batches.ts"
import { readReference, writeReference } from "./reference-file.ts"
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
  /** Told of a file that is not what was written: it is measured again. */
  readonly onDamage?: (damage: string) => void
}

/** Rows measured at once. */
const ROWS = 64

/**
 * The reference's log-probabilities of all rows of a run, measured once and kept beside the
 * prepared rows: per token, and of KTO's mismatched answers the sums, which depend on the order
 * too. They come to the steps as the column `ref_logp`.
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
  const { dir, key, model, split, signal, onProgress, onDamage } = options
  const order = Array.from({ length: batches.steps }, (_, i) => batches.indices(i + 1))
  const wanted = [...new Set(order.flat())].sort((a, b) => a - b)
  // Which rows are packed together decides how they round: a file holds what was measured at once.
  const path = join(dir, `reference-${shortHash([...key, wanted])}.safetensors`)
  const known = await readReference(path, onDamage)
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
  await writeReference(path, known)
  return known
}

/** By step: the sum over each mismatched answer's tokens. Empty for other objectives. */
async function mismatchedSums(
  batches: FixedBatches,
  { dir, key, model, split, signal, onProgress, onDamage }: ReferenceOptions,
): Promise<Map<number, Float32Array>> {
  const first = batches.batch(1)
  if (!first.mismatched) return new Map()
  const order = Array.from({ length: batches.steps }, (_, i) => batches.indices(i + 1))
  const path = join(dir, `reference-${shortHash([...key, order])}.safetensors`)
  const known = new Map(
    [...(await readReference(path, onDamage))].map(([step, [values]]) => [step, values!]),
  )
  if (known.size === batches.steps) return known
  const { decoder, adapter } = await model()
  for (let step = 1; step <= batches.steps; step++) {
    onProgress?.(`measuring the reference: step ${step} of ${batches.steps}`)
    const { rows } = batches.batch(step).mismatched!
    const logprobs = await sequenceLogprobs(decoder, rows, { split, adapter, signal })
    known.set(step, Float32Array.from(sums(logprobs)))
  }
  await writeReference(path, new Map([...known].map(([step, values]) => [step, [values]])))
  return known
}

const shortHash = (value: unknown) =>
  createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 16)
