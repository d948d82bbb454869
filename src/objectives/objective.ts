/** An objective: an expression per supervised token, and how its sum is divided. */
import { InputError } from "../errors.ts"
import { coefficients } from "./differentiate.ts"
import {
  constant,
  type Expression,
  type GradientInput,
  type InputName,
  input,
  isReduction,
  MEASURED_INPUTS,
  RUN_INPUTS,
  TOKEN_INPUTS,
  topologicalOrder,
} from "./expression.ts"
import { negate } from "./operations.ts"
import type { TrainsOn } from "./trains-on.ts"

export const NORMALIZATIONS = [
  "tokens",
  "sequences",
  "weights",
  "paper",
  "pairs",
  "sequence_sums",
  "max_tokens",
] as const
export type Normalization = (typeof NORMALIZATIONS)[number]

/** For `run.start` and reports: what the loss is divided by, in words. */
export const NORMALIZATION_IN_WORDS: { readonly [Name in Normalization]: string } = {
  tokens: "sum over the step's supervised tokens / their number",
  sequences: "mean over the step's sequences of their token means",
  weights: "sum over the step's supervised tokens / sum of their weights",
  paper: "sum over micro-batches of their token means (the official code's gradient)",
  pairs: "mean over the step's pairs",
  sequence_sums: "mean over the step's sequences of their token sums",
  max_tokens: "sum over the step's supervised tokens / (its sequences x rollout.max_new_tokens)",
}

/**
 * Numbers for events, by name: expressions that train nothing. Of each, the mean over the step's
 * tokens is told.
 */
export type Measures = Readonly<Record<string, Expression>>

/**
 * A measure that is one number a sequence: told by the side of the pair, or by the label, it
 * belongs to.
 */
export const IMPLICIT_REWARD = "implicit_reward"

export interface Objective {
  readonly name: string
  /** Value per supervised token, nats. Its gradient is what trains. */
  readonly expression: Expression
  /**
   * What is reported as the loss, where that is not the expression's own value: per supervised
   * token, summed and divided as the expression is.
   */
  readonly value?: Expression
  readonly measures?: Measures
  readonly normalization: Normalization
  /** The rows that it is given. */
  readonly trainsOn: TrainsOn
  /** As given in the config, defaults filled in: for the run's manifest. */
  readonly parameters: Readonly<Record<string, unknown>>
}

/**
 * What an expression is built from: the inputs by their names, and `p` = exp(logp), `nll` = -logp.
 */
export type ObjectiveInputs = Readonly<Record<InputName | "p" | "nll", Expression>>

const tokenInputs = Object.fromEntries(
  [...TOKEN_INPUTS, ...RUN_INPUTS].map((name) => [name, input(name)]),
) as Record<InputName, Expression>

export const INPUTS: ObjectiveInputs = {
  ...tokenInputs,
  p: tokenInputs.logp.exp(),
  nll: tokenInputs.logp.negate(),
}

/**
 * An objective of one's own, in one line:
 *
 *     tokenObjective("dft", ({ logp }) => logp.exp().detach().times(logp).negate())
 *
 * Throws InputError when no gradient reaches the model.
 */
export function tokenObjective(
  name: string,
  build: (inputs: ObjectiveInputs) => Expression,
  {
    normalization = "tokens",
    parameters = {},
    value,
    measures,
    trainsOn,
  }: {
    normalization?: Normalization
    /** By the inputs that the expression names, if left out. */
    trainsOn?: TrainsOn
    parameters?: Readonly<Record<string, unknown>>
    value?: Expression | undefined
    measures?: Measures | undefined
  } = {},
): Objective {
  const expression = build(INPUTS)
  checkTrains(name, expression)
  return {
    name,
    expression,
    normalization,
    parameters,
    trainsOn: trainsOn ?? rowsOf(expression),
    ...(value ? { value } : {}),
    ...(measures ? { measures } : {}),
  }
}

/** The rows that an expression needs, by what it names. */
export function rowsOf(expression: Expression): TrainsOn {
  const order = topologicalOrder([expression])
  const names = new Set(order.flatMap(({ op, name }) => (op === "input" ? [name as string] : [])))
  const any = (...wanted: readonly InputName[]) => wanted.some((name) => names.has(name))
  if (names.has("score")) return "scores"
  if (order.some(({ op }) => op === "pair_sum")) return "pairs"
  if (any("kl_step", "pair_sign")) return "labels"
  if (any("advantage", "sampling_logp", "expert", "reward", "value")) return "rollouts"
  return any("row_weight") ? "rewards" : "targets"
}

export function checkTrains(name: string, expression: Expression): void {
  if (Object.keys(coefficients(expression)).length > 0) return
  throw new InputError(
    `objective ${name}: no gradient reaches the model; logp, entropy, kl_ref, jsd_ref, score or value must appear outside detach()`,
  )
}

/**
 * The weight of each token's NLL: -d loss / d logp. For reports, and for `normalization: weights`.
 */
export function weightOf(expression: Expression): Expression {
  const coefficient = coefficients(expression).logp
  return coefficient === undefined ? constant(0) : negate(coefficient)
}

export interface Needs {
  readonly inputs: ReadonlySet<InputName>
  /** The inputs by which gradients flow back into the model. */
  readonly gradients: ReadonlySet<GradientInput>
  /** A frozen reference model (`ref_logp`, `kl_ref` or `jsd_ref`). */
  readonly reference: boolean
  /** What the reference says of every token of the vocabulary, not of the row's alone. */
  readonly wholeReference: boolean
  /** A value head beside the next-token head: what is still to come is worth. */
  readonly critic: boolean
  /**
   * A forward pass over the whole step before the first backward: what is reduced depends on the
   * model.
   */
  readonly firstPass: boolean
}

/** Whether any of these, or anything below them, is measured by a forward pass. */
export function isMeasured(expressions: readonly Expression[]): boolean {
  return topologicalOrder(expressions).some(
    ({ op, name }) => op === "input" && (MEASURED_INPUTS as readonly string[]).includes(name!),
  )
}

/** What must be computed besides `logp`. */
export function needs(expression: Expression): Needs {
  const order = topologicalOrder([expression])
  const inputs = new Set<InputName>()
  for (const node of order) if (node.op === "input") inputs.add(node.name as InputName)
  const wholeReference = inputs.has("kl_ref") || inputs.has("jsd_ref")
  return {
    inputs,
    gradients: new Set(Object.keys(coefficients(expression)) as GradientInput[]),
    reference: inputs.has("ref_logp") || wholeReference,
    wholeReference,
    critic: inputs.has("value"),
    firstPass: isMeasured(order.filter(({ op }) => isReduction(op))),
  }
}
