/**
 * What an objective of the family is: parameters, a formula, and which modifiers make sense on it.
 */
import type { Expression } from "./expression.ts"
import type { Measures, Normalization, ObjectiveInputs } from "./objective.ts"
import type { TrainsOn } from "./trains-on.ts"

export interface NumberParameter {
  readonly kind: "number"
  readonly default: number
  readonly min: number
  readonly max: number
  readonly meaning: string
}
export interface ChoiceParameter<Choice extends string = string> {
  readonly kind: "choice"
  readonly default: Choice
  readonly choices: readonly Choice[]
  readonly meaning: string
}
export interface FlagParameter {
  readonly kind: "flag"
  /** null where it depends on another parameter. */
  readonly default: boolean | null
  readonly meaning: string
}
export type ObjectiveParameter = NumberParameter | ChoiceParameter | FlagParameter
export type ParameterTable = Readonly<Record<string, ObjectiveParameter>>

export type ParameterValues<Table extends ParameterTable> = {
  readonly [Name in keyof Table]: Table[Name] extends ChoiceParameter<infer Choice>
    ? Choice
    : Table[Name] extends FlagParameter
      ? boolean | null
      : number
}

export function number(
  fallback: number,
  [min, max]: readonly [number, number],
  meaning: string,
): NumberParameter {
  return { kind: "number", default: fallback, min, max, meaning }
}

export function choice<const Choice extends string>(
  choices: readonly [Choice, ...Choice[]],
  meaning: string,
): ChoiceParameter<Choice> {
  return { kind: "choice", default: choices[0], choices, meaning }
}

export function flag(fallback: boolean | null, meaning: string): FlagParameter {
  return { kind: "flag", default: fallback, meaning }
}

export const MODIFIERS = ["weight_floor", "weight_ceiling", "ramp", "keep_special"] as const
export type Modifier = (typeof MODIFIERS)[number]

/**
 * The loss of a token, in one of two forms:
 * - `weight`: the NLL times this weight, detached here, so that it cannot be forgotten;
 * - `direct`: a function differentiated as it stands.
 *
 * `anchor` is added to either and left alone by the modifiers of the weight. `value` is what is
 * reported as the loss, where that is not the value of what trains; `measures` are told beside it.
 */
export type Form = ({ readonly weight: Expression } | { readonly direct: Expression }) & {
  readonly anchor?: Expression
  readonly value?: Expression
  readonly measures?: Measures
}

/** How advantages are made of the rewards of a group of samples, when the config does not say. */
export interface AdvantageRule {
  /** What is taken off a reward: nothing, its group's mean, the mean of the others in its group. */
  readonly baseline: "none" | "group" | "leave-one-out"
  /**
   * What it is divided by: nothing, the standard deviation of its group, or of all of the rollout.
   */
  readonly scale: "none" | "group" | "batch"
  /** Then brought to mean 0 and variance 1 over all tokens of the rollout. */
  readonly whiten?: true
  /**
   * In place of all that: each token's, by what a value head says of the tokens before and behind.
   */
  readonly gae?: GaeSettings
}

/** Generalised advantage estimation (arXiv 1506.02438). */
export interface GaeSettings {
  /** How much less a reward counts a token later. */
  readonly gamma: number
  /** 1: all that really came; 0: what the value head says of the next token. */
  readonly lambda: number
}

export interface Ramp {
  /** Share of the run trained as plain SFT. */
  readonly start: number
  /** Share of the run after which the objective has its full part. */
  readonly end: number
}

export interface Conflict {
  /** The parameter that is at fault. */
  readonly key: string
  readonly message: string
}

export interface Definition<Table extends ParameterTable = ParameterTable> {
  readonly name: string
  /** The formula in one line, for people. c = -ln p, sg = stop-gradient. */
  readonly formula: string
  /** `targets` if left out. */
  readonly trainsOn?: TrainsOn
  /** What its sum may be divided by, the default first; see `normalizationsOf`. */
  readonly normalizations?: readonly [Normalization, ...Normalization[]]
  /** Of an objective that trains on rollouts. */
  readonly advantage?: AdvantageRule
  /**
   * What rollouts make of each prompt's demonstration: one more sequence `beside` the samples, or
   * the beginning (`begun`) that some samples go on from.
   */
  readonly demonstrations?: "beside" | "begun"
  /**
   * Whose probabilities its `ref_logp` are: of another model, or of the same with a demonstration.
   */
  readonly teacher?: "model" | "itself"
  readonly parameters: Table
  readonly form: (values: ParameterValues<Table>, inputs: ObjectiveInputs) => Form
  /** The modifiers that make sense on it. */
  readonly modifiers: readonly Modifier[]
  /** Why the others do not: ends the sentence "... does not fit NAME: ". */
  readonly refusal?: string
  /** Weights take both signs: their sum is no divisor. */
  readonly signed?: true
  /** What is wrong with values that each are right. */
  readonly conflict?: (values: ParameterValues<Table>) => Conflict | undefined
  /** The ramp that belongs to the method, when the config says nothing. */
  readonly ramp?: Ramp
}

/** What the objective's sum may be divided by, the default first. */
export function normalizationsOf({
  normalizations,
  signed,
}: Pick<Definition, "normalizations" | "signed">): readonly [Normalization, ...Normalization[]] {
  if (normalizations) return normalizations
  if (signed) return ["tokens", "sequences", "sequence_sums"]
  return ["tokens", "sequences", "weights", "paper", "sequence_sums"]
}

export function defineObjective<const Table extends ParameterTable>(
  definition: Definition<Table>,
): Definition<Table> {
  return definition
}
