import type { Decoder, LossInputs, Reference, TokenOutputs } from "../models/index.ts"
import type { Columns, MicroBatch } from "./micro-batches.ts"
import type { ObjectiveHead, StepColumns } from "./objective-head.ts"

export interface LossInputParts {
  readonly decoder: Decoder
  readonly head: ObjectiveHead
  readonly microBatches: readonly MicroBatch[]
  /** `progress`, `step`, `steps`, and what else is one number for the step. */
  readonly scalars: Readonly<Record<string, number>>
  readonly reference: ((microBatch: MicroBatch) => Promise<Reference>) | undefined
}

type InputsOf = (microBatch: MicroBatch, index: number) => Promise<LossInputs>

/**
 * What the objective is fed beside the policy's own numbers, micro-batch by micro-batch. Where it
 * couples the tokens of a step (a mean over a sequence, a pair, a median over the batch), a first
 * pass over the whole step measures what those are made of.
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

  const measured: TokenOutputs[] = []
  if (head.firstPass) {
    for (const microBatch of microBatches) {
      const inputs = { scalars, ...(await referenceOf(microBatch)) }
      measured.push(await decoder.evaluate(microBatch.pack, head.firstPass, inputs))
    }
  }
  const reduced = head.reduced(stepColumns(microBatches, measured, scalars))
  const starts = microBatches.map((_, i) =>
    microBatches.slice(0, i).reduce((sum, { pack }) => sum + pack.labels.length, 0),
  )
  return async (microBatch, index) => {
    const start = starts[index]!
    const end = start + microBatch.pack.labels.length
    const own = Object.entries(reduced).map(
      ([name, values]) => [name, values.slice(start, end)] as const,
    )
    return {
      scale: microBatch.scale,
      scalars,
      columns: { ...microBatch.columns, ...Object.fromEntries(own) },
      ...(await referenceOf(microBatch)),
    }
  }
}

/** The tokens of all micro-batches one after the other; `measured` has what a pass found of each, or is empty. */
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

/** Columns of several micro-batches one after the other. One without supervised tokens may lack some. */
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
