import { InputError } from "../errors.ts"
import { opRow } from "./ops.ts"
import { type DType, type Shape, shapeText, type TensorType } from "./shape.ts"
import type { Attributes, CompositeBackward, OpName, ProductOptions, Tensor } from "./tensor.ts"

let nextId = 0

class Node<Op extends OpName = OpName> implements Tensor<Op> {
  readonly id = nextId++
  readonly op: Op
  readonly inputs: readonly Tensor[]
  readonly attributes: Attributes[Op]
  readonly dtype: DType
  readonly shape: Shape

  constructor(op: Op, inputs: readonly Tensor[], attributes: Attributes[Op], type: TensorType) {
    this.op = op
    this.inputs = inputs
    this.attributes = attributes
    this.dtype = type.dtype
    this.shape = type.shape
  }

  get label(): string {
    return this.op === "input" ? (this.attributes as Attributes["input"]).name : this.op
  }
  get rank(): number {
    return this.shape.length
  }

  withInputs(inputs: readonly Tensor[]): Tensor {
    if (inputs.every((x, i) => x === this.inputs[i])) return this
    return new Node<OpName>(this.op, inputs, this.attributes, this)
  }
  neg() {
    return apply("neg", [this], {})
  }
  exp() {
    return apply("exp", [this], {})
  }
  log() {
    return apply("log", [this], {})
  }
  sqrt() {
    return apply("sqrt", [this], {})
  }
  reciprocal() {
    return apply("reciprocal", [this], {})
  }
  sigmoid() {
    return apply("sigmoid", [this], {})
  }
  silu() {
    return apply("silu", [this], {})
  }
  detach() {
    return apply("detach", [this], {})
  }
  not() {
    return apply("not", [this], {})
  }
  cast(dtype: DType): Tensor {
    return dtype === this.dtype ? this : apply("cast", [this], { dtype })
  }
  add(other: Tensor | number) {
    return apply("add", [this, lift(other)], {})
  }
  sub(other: Tensor | number) {
    return apply("sub", [this, lift(other)], {})
  }
  mul(other: Tensor | number) {
    return apply("mul", [this, lift(other)], {})
  }
  div(other: Tensor | number) {
    return apply("div", [this, lift(other)], {})
  }
  pow(other: Tensor | number) {
    return apply("pow", [this, lift(other)], {})
  }
  max(other: Tensor | number) {
    return apply("max", [this, lift(other)], {})
  }
  min(other: Tensor | number) {
    return apply("min", [this, lift(other)], {})
  }
  less(other: Tensor | number) {
    return apply("less", [this, lift(other)], {})
  }
  lessOrEqual(other: Tensor | number) {
    return apply("lessOrEqual", [this, lift(other)], {})
  }
  equal(other: Tensor | number) {
    return apply("equal", [this, lift(other)], {})
  }
  and(other: Tensor) {
    return apply("and", [this, other], {})
  }
  where(a: Tensor | number, b: Tensor | number) {
    return apply("where", [this, lift(a), lift(b)], {})
  }
  matmul(other: Tensor, { transA = false, transB = false, alpha = 1, exact }: ProductOptions = {}) {
    const attributes = { transA, transB, alpha, ...(exact && { exact }) }
    return apply("matmul", [this, other], attributes)
  }
  sum(axes: number | readonly number[], { keepDims = false } = {}) {
    return apply("sum", [this], { axes: typeof axes === "number" ? [axes] : axes, keepDims })
  }
  reduceMax(axis: number, { keepDims = false } = {}) {
    return apply("reduceMax", [this], { axis, keepDims })
  }
  argMax(axis: number) {
    return apply("argMax", [this], { axis })
  }
  topK(k: number) {
    return apply("topK", [this], { k })
  }
  softmax() {
    return apply("softmax", [this], {})
  }
  rmsNorm(weight: Tensor, eps: number) {
    return apply("rmsNorm", [this, weight], { eps })
  }
  rotary(cos: Tensor, sin: Tensor) {
    return apply("rotary", [this, cos, sin], {})
  }
  reshape(shape: Shape) {
    return apply("reshape", [this], { shape })
  }
  transpose(perm: readonly number[]) {
    return apply("transpose", [this], { perm })
  }
  expand(shape: Shape) {
    return apply("expand", [this], { shape })
  }
  slice(axis: number, start: number, end: number) {
    return apply("slice", [this], { axis, start, end })
  }
  sliceBy(axis: number, begin: Tensor, end: Tensor, size: string) {
    return apply("sliceBy", [this, begin, end], { axis, size })
  }
  padBy(axis: number, begin: Tensor, end: Tensor, size: number) {
    return apply("padBy", [this, begin, end], { axis, size })
  }
  gather(ids: Tensor) {
    return apply("gather", [this, ids], {})
  }
  gatherElements(ids: Tensor) {
    return apply("gatherElements", [this, ids], {})
  }
  scatterAdd(ids: Tensor, rows: Tensor) {
    return apply("scatterAdd", [this, ids, rows], {})
  }
}

/** Makes a node: checks the inputs, infers the type. */
export function apply<Op extends OpName>(
  op: Op,
  inputs: readonly Tensor[],
  attributes: Attributes[Op],
): Tensor {
  try {
    return new Node(op, inputs, attributes, opRow(op).type(inputs, attributes))
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    const named = inputs.map((x) => `${x.label} ${shapeText(x.shape)}`).join(", ")
    throw new InputError(`${op}(${named}): ${error.message}`)
  }
}

/** What attention over a key-value cache takes (`ops/cache.ts` has the shapes). */
export interface CachedAttentionInputs {
  readonly q: Tensor
  readonly k: Tensor
  readonly v: Tensor
  readonly pastKeys: Tensor
  readonly pastValues: Tensor
  readonly last: Tensor
  readonly total: Tensor
}

/** Attention over a key-value cache, [B, S, H D], and the cache with the new rows in it. */
export function cachedAttention(
  inputs: CachedAttentionInputs,
  attributes: Attributes["cachedAttention"] = {},
) {
  const { q, k, v, pastKeys, pastValues, last, total } = inputs
  const y = apply("cachedAttention", [q, k, v, pastKeys, pastValues, last, total], attributes)
  return {
    y,
    keys: apply("cacheAfter", [y, pastKeys, k, last], { part: "keys" }),
    values: apply("cacheAfter", [y, pastValues, v, last], { part: "values" }),
  }
}

export function lift(value: Tensor | number): Tensor {
  return typeof value === "number" ? constant(value) : value
}

/** A scalar or vector known at compile time. */
export function constant(
  value: number | readonly number[],
  dtype: "f32" | "i64" = "f32",
): Tensor<"constant"> {
  const data = typeof value === "number" ? [value] : value
  const shape = typeof value === "number" ? [] : [value.length]
  return new Node("constant", [], { data, dtype }, { dtype, shape })
}

export function input(name: string, shape: Shape, dtype: DType = "f32"): Tensor<"input"> {
  return new Node("input", [], { name }, { dtype, shape })
}

export function concat(parts: readonly Tensor[], axis: number): Tensor {
  return parts.length === 1 ? parts[0]! : apply("concat", parts, { axis })
}

/** 0, 1, ... size - 1, int64. */
export function range(size: number): Tensor {
  return apply("range", [], { size })
}

/**
 * A function of tensors with a hand-written gradient. `forward` is traced as usual; reverse mode
 * calls `backward` instead of differentiating the trace. The tests hold one against the other.
 */
export function composite(
  name: string,
  inputs: readonly Tensor[],
  forward: (...inputs: readonly Tensor[]) => Tensor,
  backward: CompositeBackward,
): Tensor {
  return apply("composite", [forward(...inputs), ...inputs], { name, backward })
}

/**
 * A weight [out, in] from its codes, scales and zero points (`models/quantize.ts` has the layout).
 */
export function dequantize(
  inputs: { readonly codes: Tensor; readonly scales: Tensor; readonly zeros: Tensor },
  attributes: Attributes["dequantize"],
): Tensor {
  return apply("dequantize", [inputs.codes, inputs.scales, inputs.zeros], attributes)
}
