import { assert, InputError } from "../errors.ts"
import type { NdArray } from "./ndarray.ts"
import type { Emitter } from "./onnx.ts"
import { type DType, type Shape, shapeText, type TensorType } from "./shape.ts"

/** Every op of the graph with its attributes: the closed list. */
export interface Attributes {
  input: { readonly name: string }
  constant: { readonly data: readonly number[]; readonly dtype: "f32" | "i64" }
  neg: None
  exp: None
  log: None
  sqrt: None
  reciprocal: None
  sigmoid: None
  silu: None
  detach: None
  not: None
  cast: { readonly dtype: DType }
  add: None
  sub: None
  mul: None
  div: None
  pow: None
  max: None
  min: None
  less: None
  lessOrEqual: None
  equal: None
  and: None
  where: None
  matmul: { readonly transA: boolean; readonly transB: boolean; readonly alpha: number }
  /** alpha * op(a) op(b) + c, rank 2: what `simplify` makes of an addition to a product. */
  gemm: { readonly transA: boolean; readonly transB: boolean; readonly alpha: number }
  sum: { readonly axes: readonly number[]; readonly keepDims: boolean }
  reduceMax: { readonly axis: number; readonly keepDims: boolean }
  argMax: { readonly axis: number }
  topK: { readonly k: number }
  softmax: None
  rmsNorm: { readonly eps: number }
  rotary: None
  reshape: { readonly shape: Shape }
  transpose: { readonly perm: readonly number[] }
  expand: { readonly shape: Shape }
  slice: { readonly axis: number; readonly start: number; readonly end: number }
  sliceBy: { readonly axis: number; readonly size: string }
  padBy: { readonly axis: number; readonly size: number }
  concat: { readonly axis: number }
  gather: None
  gatherElements: None
  scatterAdd: None
  range: { readonly size: number }
  dequantize: {
    readonly bits: 4 | 8
    readonly groupSize: number
    readonly inFeatures: number
  }
  cachedAttention: None
  cacheAfter: { readonly part: "keys" | "values" }
  composite: { readonly name: string; readonly backward: CompositeBackward }
}
type None = Readonly<Record<never, never>>
export type OpName = keyof Attributes

export type CompositeBackward = (
  dy: Tensor,
  inputs: readonly Tensor[],
  output: Tensor,
) => readonly (Tensor | null)[]

/** One op: everything the compiler knows of it. A missing field is a compile error. */
export interface OpRow<Op extends OpName> {
  /** The result's type; throws InputError when the inputs do not fit. */
  readonly type: (inputs: readonly Tensor[], attributes: Attributes[Op]) => TensorType
  /** ONNX nodes for it; returns the name of the result. */
  readonly onnx: (emit: Emitter, inputs: readonly string[], node: Tensor<Op>) => string
  /** Gradients of the inputs given the output's; null where there is none. */
  readonly gradient: (dy: Tensor, node: Tensor<Op>) => readonly (Tensor | null)[]
  /** Its value in float64, plain and slow. */
  readonly evaluate: (inputs: readonly NdArray[], node: Tensor<Op>) => NdArray
}
export type OpTable = { readonly [Op in OpName]: OpRow<Op> }

let table: OpTable | undefined
let nextId = 0

/** Called once by `ops.ts`: the table's gradients are written with tensors, so it cannot be imported here. */
export function bindOps(rows: OpTable): void {
  table = rows
}

export function opRow<Op extends OpName>(op: Op): OpRow<Op> {
  assert(table, "graph: import from graph/index.ts, which binds the op table")
  return table[op]
}

/** Makes a node: checks the inputs, infers the type. */
export function apply<Op extends OpName>(
  op: Op,
  inputs: readonly Tensor[],
  attributes: Attributes[Op],
): Tensor {
  try {
    return new Tensor(op, inputs, attributes, opRow(op).type(inputs, attributes))
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    const named = inputs.map((x) => `${x.label} ${shapeText(x.shape)}`).join(", ")
    throw new InputError(`${op}(${named}): ${error.message}`)
  }
}

/** A symbolic tensor: one node of the graph. Methods build new nodes; nothing is computed. */
export class Tensor<Op extends OpName = OpName> {
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

  /** The name in messages: an input's own, else the op's. */
  get label(): string {
    return this.op === "input" ? (this.attributes as Attributes["input"]).name : this.op
  }
  get rank(): number {
    return this.shape.length
  }

  /** The same op on other inputs; itself when they are the same. */
  withInputs(inputs: readonly Tensor[]): Tensor {
    if (inputs.every((x, i) => x === this.inputs[i])) return this
    return new Tensor<OpName>(this.op, inputs, this.attributes, this)
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
  /** x * sigmoid(x). */
  silu() {
    return apply("silu", [this], {})
  }
  /** The same value; no gradient passes. */
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
  /** this ? a : b, elementwise; this is boolean. */
  where(a: Tensor | number, b: Tensor | number) {
    return apply("where", [this, lift(a), lift(b)], {})
  }
  /** alpha * op(this) op(other), over the last two axes; leading axes broadcast. */
  matmul(other: Tensor, { transA = false, transB = false, alpha = 1 } = {}) {
    return apply("matmul", [this, other], { transA, transB, alpha })
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
  /** The k largest values along the last axis, largest first. */
  topK(k: number) {
    return apply("topK", [this], { k })
  }
  /** Over the last axis. */
  softmax() {
    return apply("softmax", [this], {})
  }
  /** x / sqrt(mean(x^2) + eps) * weight over the last axis; weight is [C]. */
  rmsNorm(weight: Tensor, eps: number) {
    return apply("rmsNorm", [this, weight], { eps })
  }
  /** Rotary embedding, halves split: this [T, H, D]; cos and sin [T, D/2]. */
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
  /** Rows begin[0] .. begin[0] + length of a named size, decided when the graph runs: begin, end i64 [1]. */
  sliceBy(axis: number, begin: Tensor, end: Tensor, size: string) {
    return apply("sliceBy", [this, begin, end], { axis, size })
  }
  /** `size` rows along the axis: this in begin[0] .. end[0], zeros around it. */
  padBy(axis: number, begin: Tensor, end: Tensor, size: number) {
    return apply("padBy", [this, begin, end], { axis, size })
  }
  /** Rows of this [n, ...] for ids [...]: this.shape[1..] for each id. */
  gather(ids: Tensor) {
    return apply("gather", [this, ids], {})
  }
  /** this[i, ids[i, j]] along the last axis. */
  gatherElements(ids: Tensor) {
    return apply("gatherElements", [this, ids], {})
  }
  /** this with rows[i] added to row ids[i]: this [V, C], ids [T], rows [T, C]. */
  scatterAdd(ids: Tensor, rows: Tensor) {
    return apply("scatterAdd", [this, ids, rows], {})
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
export function cachedAttention(inputs: CachedAttentionInputs) {
  const { q, k, v, pastKeys, pastValues, last, total } = inputs
  const y = apply("cachedAttention", [q, k, v, pastKeys, pastValues, last, total], {})
  return {
    y,
    keys: apply("cacheAfter", [y, pastKeys, k, last], { part: "keys" }),
    values: apply("cacheAfter", [y, pastValues, v, last], { part: "values" }),
  }
}

export function lift(value: Tensor | number): Tensor {
  return value instanceof Tensor ? value : constant(value)
}

/** A scalar or vector known at compile time. */
export function constant(
  value: number | readonly number[],
  dtype: "f32" | "i64" = "f32",
): Tensor<"constant"> {
  const data = typeof value === "number" ? [value] : value
  const shape = typeof value === "number" ? [] : [value.length]
  return new Tensor("constant", [], { data, dtype }, { dtype, shape })
}

export function input(name: string, shape: Shape, dtype: DType = "f32"): Tensor<"input"> {
  return new Tensor("input", [], { name }, { dtype, shape })
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

/** A weight [out, in] from its codes, scales and zero points (`models/quantize.ts` has the layout). */
export function dequantize(
  inputs: { readonly codes: Tensor; readonly scales: Tensor; readonly zeros: Tensor },
  attributes: Attributes["dequantize"],
): Tensor {
  return apply("dequantize", [inputs.codes, inputs.scales, inputs.zeros], attributes)
}
