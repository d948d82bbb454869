import type { Decoder, LossInputs, Reference, TokenOutputs } from "../models/index.ts"
import type { Columns, MicroBatch } from "./micro-batches.ts"
import type { ObjectiveHead } from "./objective-head.ts"

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
 * couples the tokens of a step (a mean over a sequence, a median over the batch), a first pass over
 * the whole step measures what those are made of.
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

  let reduced: Columns = {}
  if (head.firstPass) {
    const measured: TokenOutputs[] = []
    for (const microBatch of microBatches) {
      const inputs = { scalars, ...(await referenceOf(microBatch)) }
      measured.push(await decoder.evaluate(microBatch.pack, head.firstPass, inputs))
    }
    reduced = head.reduced(
      joined(measured.map(measuredColumns)),
      joined(microBatches.map(({ columns }) => columns)),
      scalars,
      Int32Array.from(microBatches.flatMap(({ sequences }) => [...sequences])),
    )
  }
  const starts = microBatches.map((_, i) =>
    microBatches.slice(0, i).reduce((sum, { pack }) => sum + pack.labels.length, 0),
  )
  return async (microBatch, index) => {
    const start = starts[index]!
    const own = Object.entries(reduced).map(
      ([name, values]) =>
        [name, values.slice(start, start + microBatch.pack.labels.length)] as const,
    )
    return {
      scale: microBatch.scale,
      scalars,
      columns: { ...microBatch.columns, ...Object.fromEntries(own) },
      ...(await referenceOf(microBatch)),
    }
  }
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
