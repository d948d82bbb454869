import type { Decoder, LossInputs, Reference, TokenOutputs } from "../models/index.ts"
import type { MicroBatch } from "./micro-batches.ts"
import type { ObjectiveHead } from "./objective-head.ts"

export interface LossInputParts {
  readonly decoder: Decoder
  readonly head: ObjectiveHead
  readonly microBatches: readonly MicroBatch[]
  /** `progress`, `step`, `steps`. */
  readonly scalars: Readonly<Record<string, number>>
  readonly reference: ((microBatch: MicroBatch) => Promise<Reference>) | undefined
  /** Of all micro-batches one after the other. */
  readonly oldLogprobs: Float32Array | undefined
}

type InputsOf = (microBatch: MicroBatch, index: number) => Promise<LossInputs>

/**
 * What the objective is fed beside the policy's own numbers, micro-batch by micro-batch. Where it
 * couples the tokens of a step (a mean over a sequence, a median over the batch), a first pass over
 * the whole step measures what those are made of.
 */
export async function lossInputs(parts: LossInputParts): Promise<InputsOf> {
  const { decoder, head, microBatches, scalars, reference, oldLogprobs } = parts
  const starts = microBatches.map((_, i) =>
    microBatches.slice(0, i).reduce((sum, { pack }) => sum + pack.labels.length, 0),
  )
  const part = (values: Float32Array, index: number) =>
    values.slice(starts[index], starts[index]! + microBatches[index]!.pack.labels.length)
  const references = new Map<MicroBatch, Reference>()
  const referenceOf = async (microBatch: MicroBatch) => {
    if (!head.needsReference) return {}
    const found = references.get(microBatch) ?? (await reference!(microBatch))
    // Frozen, so what the first pass found serves the second.
    if (head.firstPass) references.set(microBatch, found)
    return { reference: found }
  }
  const columnsOf = ({ tokenClass }: MicroBatch, index: number) => ({
    token_class: Float32Array.from(tokenClass),
    ...(oldLogprobs ? { old_logp: part(oldLogprobs, index) } : {}),
  })

  let reduced: Readonly<Record<string, Float32Array>> = {}
  if (head.firstPass) {
    const measured: TokenOutputs[] = []
    for (const microBatch of microBatches) {
      const inputs = { scalars, ...(await referenceOf(microBatch)) }
      measured.push(await decoder.evaluate(microBatch.pack, head.firstPass, inputs))
    }
    reduced = head.reduced(
      joined(measured),
      joined(microBatches.map(columnsOf)),
      scalars,
      Int32Array.from(microBatches.flatMap(({ sequences }) => [...sequences])),
    )
  }
  return async (microBatch, index) => {
    const own = Object.entries(reduced).map(
      ([name, values]) => [name, part(values, index)] as const,
    )
    return {
      scale: microBatch.scale,
      scalars,
      columns: { ...columnsOf(microBatch, index), ...Object.fromEntries(own) },
      ...(await referenceOf(microBatch)),
    }
  }
}

/** Columns of several micro-batches one after the other. */
function joined(columns: readonly TokenOutputs[]): Record<string, Float32Array> {
  const names = new Set(columns.flatMap((column) => Object.keys(column)))
  return Object.fromEntries(
    [...names].map((name) => [
      name,
      Float32Array.from(columns.flatMap((column) => [...(column[name] ?? [])])),
    ]),
  )
}
