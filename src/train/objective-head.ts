import type { HeadSettings } from "../models/index.ts"
import {
  emit,
  INPUTS,
  type InputName,
  needs,
  type Objective,
  type ReducedInput,
  reduceInputs,
  splitReductions,
} from "../objectives/index.ts"
import { GRAPH_OPS } from "./graph-ops.ts"

/** Inputs that the head computes itself; the other per-token inputs are fed. */
const FROM_HEAD: ReadonlySet<string> = new Set([
  "logp",
  "entropy",
  "topk_entropy",
  "ref_logp",
  "kl_ref",
])
const PER_RUN: ReadonlySet<string> = new Set(["progress", "step", "steps"])

/** An objective as the local engine runs it. */
export interface ObjectiveHead {
  /** Loss and coefficients in the head's graph; reductions are columns. */
  readonly settings: HeadSettings
  readonly needsReference: boolean
  readonly needsOldLogprobs: boolean
  /** Set when the objective couples tokens: what a first pass over the step must measure. */
  readonly firstPass: HeadSettings | undefined
  /** The columns made of a first pass over all tokens of a step: reductions, by name, each [N]. */
  readonly reduced: (
    measured: Readonly<Record<string, Float32Array>>,
    columns: Readonly<Record<string, Float32Array>>,
    scalars: Readonly<Record<string, number>>,
    sequences: Int32Array,
  ) => Readonly<Record<string, Float32Array>>
}

/** Compiles the objective's expression into what the head's graph takes. */
export function objectiveHead(objective: Objective): ObjectiveHead {
  const wanted = needs(objective.expression)
  const split = splitReductions(objective.expression)
  const inputs = [...wanted.inputs]
  const fed = inputs.filter((name) => !FROM_HEAD.has(name) && !PER_RUN.has(name))
  const scalars = inputs.filter((name) => PER_RUN.has(name))
  const shared = { topkEntropy: wanted.inputs.has("topk_entropy"), reference: wanted.reference }
  const settings: HeadSettings = {
    ...shared,
    columns: [...fed, ...split.reductions.map((reduction) => reduction.input)],
    scalars,
    loss: (quantities) => emit(split.expression, GRAPH_OPS, quantities),
  }
  const measure: HeadSettings = {
    ...shared,
    loss: (quantities) => emit(INPUTS.nll, GRAPH_OPS, quantities),
  }
  return {
    settings,
    needsReference: wanted.reference,
    needsOldLogprobs: wanted.inputs.has("old_logp"),
    firstPass: wanted.firstPass ? measure : undefined,
    reduced(measured, columns, scalars, sequences) {
      const all: Partial<Record<InputName | ReducedInput, Float64Array | number>> = {}
      for (const [name, values] of Object.entries({ ...measured, ...columns })) {
        all[name as InputName] = Float64Array.from(values)
      }
      Object.assign(all, scalars)
      const found = reduceInputs(split, all, sequences)
      return Object.fromEntries(
        Object.entries(found).map(([name, values]) => [name, Float32Array.from(values)]),
      )
    },
  }
}

/** What a model's cross-entropy is measured with, whatever the objective. */
export const CROSS_ENTROPY: HeadSettings = {
  loss: (quantities) => emit(INPUTS.nll, GRAPH_OPS, quantities),
}
