import type {
  Decoder,
  LossInputs,
  LossInputsAfter,
  Reference,
  TokenOutputs,
} from "../models/index.ts"
import type { Columns, MicroBatch } from "./micro-batches.ts"
import type { ObjectiveHead, StepColumns } from "./objective-head.ts"

export interface LossInputParts {
  readonly decoder: Decoder
  readonly head: ObjectiveHead
  readonly microBatches: readonly MicroBatch[]
  /** `progress`, `step`, `steps`, and what else is one number for the step. */
  readonly scalars: Readonly<Record<string, number>>
  readonly reference: ((microBatch: MicroBatch) => Promise<Reference>) | undefined
  /** A micro-batch that holds all whom its tokens are coupled with is measured while it trains. */
  readonly together: boolean
}

type InputsOf = (microBatch: MicroBatch) => Promise<LossInputs | LossInputsAfter>

/**
 * What the objective is fed beside the policy's own numbers, micro-batch by micro-batch. Where it
 * couples tokens (a mean over a sequence, a pair, a median over the batch), what those are made of
 * is measured first: on the way, where a micro-batch has all of it, else in a pass over the others.
 */
export async function lossInputs(parts: LossInputParts): Promise<InputsOf> {
  const { decoder, head, microBatches, scalars, reference } = parts
  const references = new Map<MicroBatch, Reference>()
  const referenceOf = async (microBatch: MicroBatch) => {
    if (!head.needsReference) return {}
    const found = references.get(microBatch) ?? (await reference!(microBatch))
    // Frozen, so what the first pass found serves the second.
    if (head.firstPass) references.set(microBatch, found)
    return { reference: found }
  }

  const inside = measuredInside(parts)
  const apart = microBatches.filter((one) => !inside.has(one))
  const measured: TokenOutputs[] = []
  if (head.firstPass) {
    for (const microBatch of apart) {
      const inputs = { scalars, ...(await referenceOf(microBatch)) }
      measured.push(await decoder.evaluate(microBatch.pack, head.firstPass, inputs))
    }
  }
  const columnsApart = apart.length > 0 ? head.reduced(stepColumns(apart, measured, scalars)) : {}
  const reduced = cutUp(columnsApart, apart)
  return async (microBatch) => {
    const { scale, columns, pack } = microBatch
    const compared = await referenceOf(microBatch)
    const withColumns = (own: Columns): LossInputs => {
      return { scale, scalars, columns: { ...columns, ...own }, ...compared }
    }
    const { firstPass } = head
    if (!firstPass || !inside.has(microBatch)) return withColumns(reduced.get(microBatch) ?? {})
    if (pack.labels.length === 0) return withColumns({})
    return async (measure) => {
      const outputs = await measure(firstPass, { scalars, ...compared })
      return withColumns(head.reduced(stepColumns([microBatch], [outputs], scalars)))
    }
  }
}

/** Micro-batches whose tokens are coupled with none outside. */
export function measuredInside({
  head: { firstPass, reach },
  microBatches,
  together,
}: Pick<LossInputParts, "head" | "microBatches" | "together">): ReadonlySet<MicroBatch> {
  if (!together || !firstPass) return new Set()
  if (reach === "batch") return new Set(microBatches.length === 1 ? microBatches : [])
  if (reach === "sequence") return new Set(microBatches)
  const placeOf = new Map<number, MicroBatch>()
  for (const one of microBatches) for (const row of one.sequences) placeOf.set(row, one)
  // Rows 2k and 2k + 1 are a pair; of a side without a token to learn nothing is asked.
  const isWhole = (one: MicroBatch) =>
    one.sequences.every((row) => (placeOf.get(row ^ 1) ?? one) === one)
  return new Set(microBatches.filter(isWhole))
}

/** Columns of all tokens of some micro-batches as each one's own. */
function cutUp(
  columns: Columns,
  microBatches: readonly MicroBatch[],
): ReadonlyMap<MicroBatch, Columns> {
  let start = 0
  const found = new Map<MicroBatch, Columns>()
  for (const one of microBatches) {
    const end = start + one.pack.labels.length
    const own = Object.entries(columns).map(([name, all]) => [name, all.slice(start, end)] as const)
    found.set(one, Object.fromEntries(own))
    start = end
  }
  return found
}

/**
 * The tokens of all micro-batches one after the other; `measured` has what a pass found of each, or
 * is empty.
 */
export function stepColumns(
  microBatches: readonly MicroBatch[],
  measured: readonly TokenOutputs[],
  scalars: Readonly<Record<string, number>>,
): StepColumns {
  const length = microBatches.reduce((sum, { sequences }) => sum + sequences.length, 0)
  const sequences = new Int32Array(length)
  let at = 0
  for (const one of microBatches) {
    sequences.set(one.sequences, at)
    at += one.sequences.length
  }
  const found = joined(measured.map(measuredColumns))
  // What came with the rows is what the objective was given.
  const columns = { ...found, ...joined(microBatches.map(({ columns }) => columns)) }
  return { columns, scalars, sequences }
}

/** What a pass measured of the model; its loss and weight are of no use to another pass. */
function measuredColumns({ loss: _loss, weight: _weight, ...measured }: TokenOutputs): Columns {
  return measured
}

/**
 * Columns of several micro-batches one after the other. One without supervised tokens may lack
 * some.
 */
function joined(parts: readonly Columns[]): Columns {
  const names = new Set(parts.flatMap((columns) => Object.keys(columns)))
  return Object.fromEntries(
    [...names].map((name) => {
      const values = parts.flatMap((columns) => columns[name] ?? [])
      const all = new Float32Array(values.reduce((sum, { length }) => sum + length, 0))
      let at = 0
      for (const part of values) {
        all.set(part, at)
        at += part.length
      }
      return [name, all]
    }),
  )
}
