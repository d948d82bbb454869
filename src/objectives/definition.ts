/** What an objective of the family is: parameters, a formula, and which modifiers make sense on it. */
import type { Expression } from "./expression.ts"
import type { ObjectiveInputs } from "./objective.ts"

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
export type Parameter = NumberParameter | ChoiceParameter
export type ParameterTable = Readonly<Record<string, Parameter>>

export type ParameterValues<Table extends ParameterTable> = {
  readonly [Name in keyof Table]: Table[Name] extends ChoiceParameter<infer Choice>
    ? Choice
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

export const MODIFIERS = ["weight_floor", "weight_ceiling", "ramp", "keep_special"] as const
export type Modifier = (typeof MODIFIERS)[number]

/**
 * The loss of a token, in one of two forms:
 * - `weight`: the NLL times this weight, detached here, so that it cannot be forgotten;
 * - `direct`: a function differentiated as it stands.
 *
 * `anchor` is added to either and left alone by the modifiers of the weight.
 */
export type Form =
  | { readonly weight: Expression; readonly anchor?: Expression }
  | { readonly direct: Expression; readonly anchor?: Expression }

export interface Ramp {
  /** Share of the run trained as plain SFT. */
  readonly start: number
  /** Share of the run after which the objective has its full part. */
  readonly end: number
}

export interface Definition<Table extends ParameterTable = ParameterTable> {
  readonly name: string
  /** The formula in one line, for people. c = -ln p, sg = stop-gradient. */
  readonly formula: string
  readonly parameters: Table
  readonly form: (values: ParameterValues<Table>, inputs: ObjectiveInputs) => Form
  /** The modifiers that make sense on it. */
  readonly modifiers: readonly Modifier[]
  /** Why the others do not: ends the sentence "... does not fit NAME: ". */
  readonly refusal?: string
  /** Weights take both signs: their sum is no divisor. */
  readonly signed?: true
  /** The ramp that belongs to the method, when the config says nothing. */
  readonly ramp?: Ramp
}

export function defineObjective<const Table extends ParameterTable>(
  definition: Definition<Table>,
): Definition<Table> {
  return definition
}
