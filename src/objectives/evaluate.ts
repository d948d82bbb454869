/** The meaning of an expression: in float64 (the judge), and emitted through a tensor interface. */
import { assert } from "../errors.ts"
import { coefficients } from "./differentiate.ts"
import {
  Expression,
  GRADIENT_INPUTS,
  type GradientInput,
  type InputName,
  input,
  isReduction,
  type ReducedInput,
  type ReductionOp,
  topologicalOrder,
} from "./expression.ts"
import { OPERATIONS, type TensorOps } from "./operations.ts"

/** By input: one number per supervised token, or one number for the whole step. */
export type Columns = Readonly<Partial<Record<InputName | ReducedInput, Float64Array | number>>>

export interface Evaluation {
  /** The objective's value per supervised token, nats. */
  readonly loss: Float64Array
  /** d loss_t / d input_t; `logp` always, the others where the loss depends on them. */
  readonly coefficients: { readonly logp: Float64Array } & Readonly<
    Partial<Record<GradientInput, Float64Array>>
  >
}

/**
 * Value and coefficients in float64. `columns` hold N numbers each; `segments[t]` is the index of
 * token t's sequence in the optimizer step (any order, only tokens of the step), which reductions
 * need.
 */
export function evaluate(
  loss: Expression,
  columns: Columns,
  segments: ArrayLike<number>,
): Evaluation {
  const parts = coefficients(loss)
  const names = GRADIENT_INPUTS.filter((name) => parts[name] !== undefined)
  const roots = [loss, ...names.map((name) => parts[name]!)]
  const [value, ...gradients] = evaluateAll(roots, columns, segments)
  const found = names.map((name, index) => [name, gradients[index]!] as const)
  return {
    loss: value!,
    coefficients: { logp: new Float64Array(segments.length), ...Object.fromEntries(found) },
  }
}

/**
 * The values of several expressions over the same columns, shared nodes computed once. Each is [N].
 */
export function evaluateAll(
  roots: readonly Expression[],
  columns: Columns,
  segments: ArrayLike<number>,
): Float64Array[] {
  const length = segments.length
  const values = new Map<Expression, Float64Array | number>()
  for (const node of topologicalOrder(roots)) {
    values.set(node, nodeValue(node, values, columns, segments))
  }
  return roots.map((root) => {
    const value = values.get(root)!
    return typeof value === "number" ? new Float64Array(length).fill(value) : value.slice()
  })
}

function nodeValue(
  node: Expression,
  values: ReadonlyMap<Expression, Float64Array | number>,
  columns: Columns,
  segments: ArrayLike<number>,
): Float64Array | number {
  if (node.op === "constant") return node.value!
  if (node.op === "input") {
    const column = columns[node.name!]
    assert(column !== undefined, `objective: input ${node.name} is needed and was not given`)
    const fits = typeof column === "number" || column.length === segments.length
    assert(fits, `objective: input ${node.name} must have ${segments.length} numbers`)
    return column
  }
  const args = node.args.map((argument) => values.get(argument)!)
  if (isReduction(node.op)) return reduce(node.op, args[0]!, segments)
  const { value } = OPERATIONS[node.op]
  if (args.every((arg) => typeof arg === "number")) return value(...(args as number[]))
  const result = new Float64Array(segments.length)
  for (let t = 0; t < result.length; t++) {
    result[t] = value(...args.map((arg) => (typeof arg === "number" ? arg : arg[t]!)))
  }
  return result
}

/**
 * A reduction of per-token numbers, spread back to the tokens. `batch_median` is over the step's
 * sequences, the lower middle of an even number (as torch.median); its argument is one value per
 * sequence. Sequences 2k and 2k + 1 of a step are a pair.
 */
export function reduce(
  op: ReductionOp,
  values: Float64Array | number,
  segments: ArrayLike<number>,
): Float64Array {
  const at = (t: number) => (typeof values === "number" ? values : values[t]!)
  const result = new Float64Array(segments.length)
  if (op === "batch_median") {
    const bySequence = new Map<number, number>()
    for (let t = 0; t < segments.length; t++) {
      const known = bySequence.get(segments[t]!)
      const same = known === undefined || Object.is(known, at(t))
      assert(same, "batch_median: its argument must be one value per sequence")
      bySequence.set(segments[t]!, at(t))
    }
    const sorted = Float64Array.from(bySequence.values()).sort()
    return result.fill(sorted[(sorted.length - 1) >> 1] ?? 0)
  }
  if (op === "batch_rank") return ranks(result.map((_, t) => at(t)))
  const sums = new Map<number, { sum: number; count: number }>()
  const groupOf = GROUP_OF[op]
  for (let t = 0; t < segments.length; t++) {
    const group = groupOf(segments[t]!)
    const entry = sums.get(group) ?? { sum: 0, count: 0 }
    sums.set(group, { sum: entry.sum + at(t), count: entry.count + 1 })
  }
  return result.map((_, t) => {
    const { sum, count } = sums.get(groupOf(segments[t]!))!
    return op === "sequence_mean" ? sum / count : sum
  })
}

/** Which tokens a sum goes over, by their sequence. */
const GROUP_OF: {
  readonly [Op in Exclude<ReductionOp, "batch_median" | "batch_rank">]: (sequence: number) => number
} = {
  sequence_mean: (sequence) => sequence,
  sequence_sum: (sequence) => sequence,
  pair_sum: (sequence) => sequence >> 1,
  batch_sum: () => 0,
}

/** Whose tokens a reduction couples, at most. */
export type Reach = "sequence" | "pair" | "batch"

const REACH: { readonly [Op in ReductionOp]: Reach } = {
  sequence_mean: "sequence",
  sequence_sum: "sequence",
  pair_sum: "pair",
  batch_median: "batch",
  batch_sum: "batch",
  batch_rank: "batch",
}

/** Of all that were taken out of an expression; undefined where there are none. */
export function reachOf({ reductions }: SplitExpression): Reach | undefined {
  const found = new Set(reductions.map(({ op }) => REACH[op]))
  return (["batch", "pair", "sequence"] as const).find((reach) => found.has(reach))
}

/** By token: how many of the values are larger. */
function ranks(values: Float64Array): Float64Array {
  const descending = values.slice().sort().reverse()
  const first = new Map<number, number>()
  for (const [rank, value] of descending.entries()) if (!first.has(value)) first.set(value, rank)
  return values.map((value) => first.get(value)!)
}

export interface SplitExpression {
  /**
   * In the order to compute them; an argument may use the inputs of earlier reductions. All
   * arguments are free of reductions.
   */
  readonly reductions: readonly {
    readonly input: ReducedInput
    readonly op: ReductionOp
    readonly argument: Expression
  }[]
  /** The same expression with each reduction replaced by its input. */
  readonly expression: Expression
}

/**
 * Takes the reductions out, to be computed in float64 from a first forward pass over the whole step
 * (`reduceInputs`) and fed back as per-token inputs. Their arguments are detached, so no gradient
 * is lost.
 */
export function splitReductions(loss: Expression): SplitExpression {
  const replaced = new Map<Expression, Expression>()
  const reductions: { input: ReducedInput; op: ReductionOp; argument: Expression }[] = []
  for (const node of topologicalOrder([loss])) {
    const args = node.args.map((argument) => replaced.get(argument)!)
    if (isReduction(node.op)) {
      const name: ReducedInput = `reduction_${reductions.length}`
      reductions.push({ input: name, op: node.op, argument: args[0]! })
      replaced.set(node, input(name))
    } else if (args.every((argument, index) => argument === node.args[index])) {
      replaced.set(node, node)
    } else {
      replaced.set(node, new Expression(node.op, args))
    }
  }
  return { reductions, expression: replaced.get(loss)! }
}

/** The reduced inputs of a whole optimizer step, [N] each, from its columns. */
export function reduceInputs(
  { reductions }: SplitExpression,
  columns: Columns,
  segments: ArrayLike<number>,
): Record<ReducedInput, Float64Array> {
  const reduced: Record<ReducedInput, Float64Array> = {}
  for (const { input: name, op, argument } of reductions) {
    const [values] = evaluateAll([argument], { ...columns, ...reduced }, segments)
    reduced[name] = reduce(op, values!, segments)
  }
  return reduced
}

export interface Emission<T> {
  readonly loss: T
  readonly coefficients: Readonly<Partial<Record<GradientInput, T>>>
}

/**
 * Writes value and coefficients through `ops`. `inputs` must hold every input that `loss` names;
 * reductions must have been split out.
 */
export function emit<T>(
  loss: Expression,
  ops: TensorOps<T>,
  inputs: Readonly<Partial<Record<InputName | ReducedInput, NoInfer<T> | undefined>>>,
): Emission<T> {
  const parts = coefficients(loss)
  const names = GRADIENT_INPUTS.filter((name) => parts[name] !== undefined)
  const emitted = new Map<Expression, T>()
  for (const node of topologicalOrder([loss, ...names.map((name) => parts[name]!)])) {
    assert(!isReduction(node.op), `emit: ${node.op} must be split out first`)
    emitted.set(node, emitNode(node, emitted, ops, inputs))
  }
  const found = names.map((name) => [name, emitted.get(parts[name]!)!] as const)
  return { loss: emitted.get(loss)!, coefficients: Object.fromEntries(found) }
}

function emitNode<T>(
  node: Expression,
  emitted: ReadonlyMap<Expression, T>,
  ops: TensorOps<T>,
  inputs: Readonly<Partial<Record<InputName | ReducedInput, NoInfer<T> | undefined>>>,
): T {
  if (node.op === "constant") return ops.constant(node.value!)
  if (node.op === "input") {
    const tensor = inputs[node.name!]
    assert(tensor !== undefined, `emit: input ${node.name} is needed and was not given`)
    return tensor
  }
  assert(!isReduction(node.op), `emit: ${node.op} must be split out first`)
  const args = node.args.map((argument) => emitted.get(argument)!)
  const finite = node.args.some(({ value }) => value !== undefined && value !== 0)
  // A finite constant that is not 0 cannot make 0 times infinity of a product.
  if (node.op === "mul" && finite) return ops.mul(args[0]!, args[1]!)
  return OPERATIONS[node.op].emit(ops, args)
}
