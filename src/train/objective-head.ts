import type { HeadSettings } from "../models/index.ts"
import {
  type Expression,
  emit,
  evaluateAll,
  type Columns as Float64Columns,
  INPUTS,
  type InputName,
  isOfPairs,
  MEASURED_INPUTS,
  needs,
  type Objective,
  type Reach,
  reachOf,
  reduceInputs,
  splitReductions,
} from "../objectives/index.ts"
import { GRAPH_OPS } from "./graph-ops.ts"
import type { Columns } from "./micro-batches.ts"

const PER_RUN: ReadonlySet<string> = new Set(["progress", "step", "steps", "kl_step"])

type Scalars = Readonly<Record<string, number>>

/** All tokens of a step: what was measured of them and what came with them, and their sequences. */
export interface StepColumns {
  readonly columns: Columns
  readonly scalars: Scalars
  readonly sequences: Int32Array
}

/** An objective as the local engine runs it. */
export interface ObjectiveHead {
  /** Loss and coefficients in the head's graph; reductions are columns. */
  readonly settings: HeadSettings
  readonly needsReference: boolean
  readonly needsOldLogprobs: boolean
  /** KTO's z0: a number of the step that is measured before it. */
  readonly needsKlStep: boolean
  /**
   * Set when what couples tokens depends on the model: what a first pass over the step must
   * measure.
   */
  readonly firstPass: HeadSettings | undefined
  /** Whose tokens it couples. */
  readonly reach: Reach | undefined
  /** The columns made of all tokens of a step: reductions, by name, each [N]. */
  readonly reduced: (step: StepColumns) => Columns
  /** What is reported as the loss, [N]; undefined where that is the loss's own value. */
  readonly value: ((step: StepColumns) => Float64Array) | undefined
  /** Its rows are pairs, of which the chosen sides are told. */
  readonly paired: boolean
  /** Whether the objective measures more than its loss. */
  readonly measures: boolean
  /** Numbers for events, by name, [N] each: those whose inputs are there. */
  readonly measured: (step: StepColumns) => Readonly<Record<string, Float64Array>>
}

export interface HeadOptions {
  /** `ref_logp` comes with the rows: no reference model runs beside the policy. */
  readonly storedReference?: boolean
  /** Of the distribution that samples were drawn from. */
  readonly temperature?: number
}

/** Compiles the objective's expression into what the head's graph takes. */
export function objectiveHead(
  objective: Objective,
  { storedReference = false, temperature = 1 }: HeadOptions = {},
): ObjectiveHead {
  const wanted = needs(objective.expression)
  const split = splitReductions(objective.expression)
  const inputs = [...wanted.inputs]
  // The other token inputs are fed.
  const fromHead = new Set<string>(MEASURED_INPUTS)
  if (storedReference) fromHead.delete("ref_logp")
  const fed = inputs.filter((name) => !fromHead.has(name) && !PER_RUN.has(name))
  const scalars = inputs.filter((name) => PER_RUN.has(name))
  const reference = storedReference ? wanted.wholeReference : wanted.reference
  const shared = {
    topkEntropy: wanted.inputs.has("topk_entropy"),
    reference,
    ...(wanted.inputs.has("jsd_ref") ? { jsdBeta: Number(objective.parameters.beta ?? 0.5) } : {}),
    ...(temperature === 1 ? {} : { temperature }),
    ...(wanted.critic ? { value: true } : {}),
  }
  const settings: HeadSettings = {
    ...shared,
    columns: [...fed, ...split.reductions.map((reduction) => reduction.input)],
    scalars,
    loss: (quantities) => emit(split.expression, GRAPH_OPS, quantities),
  }
  const scores = wanted.inputs.has("score")
  const measure: HeadSettings = {
    ...shared,
    loss: (quantities) => emit(scores ? INPUTS.score : INPUTS.nll, GRAPH_OPS, quantities),
  }
  const { value, measures = {} } = objective
  return {
    settings,
    needsReference: reference,
    needsOldLogprobs: wanted.inputs.has("old_logp"),
    needsKlStep: wanted.inputs.has("kl_step"),
    firstPass: wanted.firstPass ? measure : undefined,
    reach: reachOf(split),
    reduced: (step) => {
      if (split.reductions.length === 0) return {}
      const found = reduceInputs(split, inFloat64(step), step.sequences)
      return Object.fromEntries(
        Object.entries(found).map(([name, values]) => [name, Float32Array.from(values)]),
      )
    },
    value: value && ((step) => valuesOf([value], step)[0]!),
    paired: isOfPairs(objective),
    measures: Object.keys(measures).length > 0,
    measured(step) {
      const given = new Set([...Object.keys(step.columns), ...Object.keys(step.scalars)])
      const there = Object.entries(measures).filter(([, measure]) =>
        [...needs(measure).inputs].every((name) => given.has(name)),
      )
      const values = valuesOf(
        there.map(([, measure]) => measure),
        step,
      )
      return Object.fromEntries(there.map(([name], i) => [name, values[i]!]))
    },
  }
}

function valuesOf(expressions: readonly Expression[], step: StepColumns): Float64Array[] {
  return evaluateAll(expressions, inFloat64(step), step.sequences)
}

function inFloat64({ columns, scalars }: StepColumns): Float64Columns {
  const all: Partial<Record<InputName, Float64Array | number>> = {}
  for (const [name, values] of Object.entries(columns)) {
    all[name as InputName] = Float64Array.from(values)
  }
  return { ...all, ...scalars }
}

/** What a model's cross-entropy is measured with, whatever the objective. */
export const CROSS_ENTROPY: HeadSettings = {
  loss: (quantities) => emit(INPUTS.nll, GRAPH_OPS, quantities),
}

/** What a reward model's scores are measured with. */
export const SCORES: HeadSettings = {
  loss: (quantities) => emit(INPUTS.score, GRAPH_OPS, quantities),
}

/**
 * The same of the distribution at a temperature, and of a value head. Of each temperature hold one:
 * it is compiled.
 */
export const crossEntropyAt = (temperature: number, { value = false } = {}): HeadSettings =>
  temperature === 1 && !value
    ? CROSS_ENTROPY
    : { ...CROSS_ENTROPY, temperature, ...(value ? { value } : {}) }
