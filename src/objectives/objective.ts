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
  RUN_INPUTS,
  TOKEN_INPUTS,
  topologicalOrder,
} from "./expression.ts"
import { type ExpressionJson, expressionFromJson, expressionToJson } from "./expression-json.ts"
import { negate } from "./operations.ts"

export const NORMALIZATIONS = ["tokens", "sequences", "weights", "paper"] as const
export type Normalization = (typeof NORMALIZATIONS)[number]

/** For `run.start` and reports: what the loss is divided by, in words. */
export const NORMALIZATION_IN_WORDS: { readonly [Name in Normalization]: string } = {
  tokens: "sum over the step's supervised tokens / their number",
  sequences: "mean over the step's sequences of their token means",
  weights: "sum over the step's supervised tokens / sum of their weights",
  paper: "sum over micro-batches of their token means (the official code's gradient)",
}

export interface Objective {
  readonly name: string
  /** Value per supervised token, nats. */
  readonly expression: Expression
  readonly normalization: Normalization
  /** As given in the config, defaults filled in: for the run's manifest. */
  readonly parameters: Readonly<Record<string, unknown>>
}

/** What an expression is built from: the inputs by their names, and `p` = exp(logp), `nll` = -logp. */
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
  }: {
    normalization?: Normalization
    parameters?: Readonly<Record<string, unknown>>
  } = {},
): Objective {
  const expression = build(INPUTS)
  checkTrains(name, expression)
  return { name, expression, normalization, parameters }
}

function checkTrains(name: string, expression: Expression): void {
  if (Object.keys(coefficients(expression)).length > 0) return
  throw new InputError(
    `objective ${name}: no gradient reaches the model; logp, entropy or kl_ref must appear outside detach()`,
  )
}

/** The weight of each token's NLL: -d loss / d logp. For reports, and for `normalization: weights`. */
export function weightOf(expression: Expression): Expression {
  const coefficient = coefficients(expression).logp
  return coefficient === undefined ? constant(0) : negate(coefficient)
}

export interface Needs {
  readonly inputs: ReadonlySet<InputName>
  /** The inputs by which gradients flow back into the model. */
  readonly gradients: ReadonlySet<GradientInput>
  /** A frozen reference model (`ref_logp` or `kl_ref`). */
  readonly reference: boolean
  /** A forward pass over the whole step before the first backward (sequence or batch reductions). */
  readonly firstPass: boolean
}

/** What must be computed besides `logp`. */
export function needs(expression: Expression): Needs {
  const order = topologicalOrder([expression])
  const inputs = new Set<InputName>()
  for (const node of order) if (node.op === "input") inputs.add(node.name as InputName)
  return {
    inputs,
    gradients: new Set(Object.keys(coefficients(expression)) as GradientInput[]),
    reference: inputs.has("ref_logp") || inputs.has("kl_ref"),
    firstPass: order.some(({ op }) => isReduction(op)),
  }
}

export interface ObjectiveJson extends ExpressionJson {
  readonly version: 1
  readonly name: string
  readonly normalization: Normalization
}

export function objectiveToJson(objective: Objective): ObjectiveJson {
  const { name, normalization, expression } = objective
  return { version: 1, name, normalization, ...expressionToJson(expression) }
}

/** Throws InputError naming the key. */
export function objectiveFromJson(json: unknown, where = "objective"): Objective {
  const expression = expressionFromJson(json, where)
  const { version, name, normalization = "tokens" } = json as Record<string, unknown>
  if (version !== 1) {
    throw new InputError(`${where}.version: expected 1, got ${JSON.stringify(version)}`)
  }
  if (typeof name !== "string" || !/^[\w.-]{1,64}$/.test(name)) {
    throw new InputError(
      `${where}.name: expected 1 to 64 letters, digits, dots or dashes, got ${JSON.stringify(name)?.slice(0, 80)}`,
    )
  }
  if (!(NORMALIZATIONS as readonly unknown[]).includes(normalization)) {
    throw new InputError(
      `${where}.normalization: expected one of ${NORMALIZATIONS.join(", ")}, got ${JSON.stringify(normalization)?.slice(0, 80)}`,
    )
  }
  checkTrains(name, expression)
  return { name, expression, normalization: normalization as Normalization, parameters: {} }
}

/** As it goes under `objective` in a config, of TypeScript or JSON: `defineConfig({ objective: objectiveToConfig(mine) })`. */
export function objectiveToConfig({ name, normalization, expression }: Objective): {
  name: string
  normalization: Normalization
  expression: { version: 1; nodes: Record<string, unknown>[]; output: number }
} {
  const { nodes, output } = expressionToJson(expression)
  const written = { version: 1 as const, nodes: nodes.map((node) => ({ ...node })), output }
  return { name, normalization, expression: written }
}
