import type { NdArray } from "./ndarray.ts"
import type { DType, Shape, TensorType } from "./shape.ts"

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
  matmul: ProductAttributes
  /** alpha * op(a) op(b) + c, rank 2: what `simplify` makes of an addition to a product. */
  gemm: ProductAttributes
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
  cachedAttention: {
    /** Left out: 1 / sqrt(D). */
    readonly scale?: number
    readonly softcap?: number
    readonly window?: number
  }
  cacheAfter: { readonly part: "keys" | "values" }
  composite: { readonly name: string; readonly backward: CompositeBackward }
}
export interface ProductAttributes {
  readonly transA: boolean
  readonly transB: boolean
  readonly alpha: number
  /** Not to be rounded, where a device computes products in fewer bits: sums, losses, norms. */
  readonly exact?: true
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
  /** Gradients of the inputs given the output's; null where there is none. */
  readonly gradient: (dy: Tensor, node: Tensor<Op>, leaves: Leaves) => readonly (Tensor | null)[]
  /** Its value in float64, plain and slow. */
  readonly evaluate: (inputs: readonly NdArray[], node: Tensor<Op>) => NdArray
}
export type OpTable = { readonly [Op in OpName]: OpRow<Op> }

/** Nodes without inputs, for gradients that need some: the rows stand below what makes nodes. */
export interface Leaves {
  /** A scalar or vector known at compile time. */
  constant(value: number | readonly number[], dtype?: "f32" | "i64"): Tensor
  /** 0, 1, ... size - 1, int64. */
  range(size: number): Tensor
}

export type ProductOptions = Partial<ProductAttributes>

/**
 * A symbolic tensor: one node of the graph. Methods build new nodes (`trace.ts` makes them);
 * nothing is computed.
 */
export interface Tensor<Op extends OpName = OpName> extends TensorType {
  readonly id: number
  readonly op: Op
  readonly inputs: readonly Tensor[]
  readonly attributes: Attributes[Op]
  /** The name in messages: an input's own, else the op's. */
  readonly label: string
  readonly rank: number

  /** The same op on other inputs; itself when they are the same. */
  withInputs(inputs: readonly Tensor[]): Tensor
  neg(): Tensor
  exp(): Tensor
  log(): Tensor
  sqrt(): Tensor
  reciprocal(): Tensor
  sigmoid(): Tensor
  /** x * sigmoid(x). */
  silu(): Tensor
  /** The same value; no gradient passes. */
  detach(): Tensor
  not(): Tensor
  cast(dtype: DType): Tensor
  add(other: Tensor | number): Tensor
  sub(other: Tensor | number): Tensor
  mul(other: Tensor | number): Tensor
  div(other: Tensor | number): Tensor
  pow(other: Tensor | number): Tensor
  max(other: Tensor | number): Tensor
  min(other: Tensor | number): Tensor
  less(other: Tensor | number): Tensor
  lessOrEqual(other: Tensor | number): Tensor
  equal(other: Tensor | number): Tensor
  and(other: Tensor): Tensor
  /** this ? a : b, elementwise; this is boolean. */
  where(a: Tensor | number, b: Tensor | number): Tensor
  /** alpha * op(this) op(other), over the last two axes; leading axes broadcast. */
  matmul(other: Tensor, options?: ProductOptions): Tensor
  sum(axes: number | readonly number[], options?: { readonly keepDims?: boolean }): Tensor
  reduceMax(axis: number, options?: { readonly keepDims?: boolean }): Tensor
  argMax(axis: number): Tensor
  /** The k largest values along the last axis, largest first. */
  topK(k: number): Tensor
  /** Over the last axis. */
  softmax(): Tensor
  /** x / sqrt(mean(x^2) + eps) * weight over the last axis; weight is [C]. */
  rmsNorm(weight: Tensor, eps: number): Tensor
  /** Rotary embedding, halves split: this [T, H, D]; cos and sin [T, D/2]. */
  rotary(cos: Tensor, sin: Tensor): Tensor
  reshape(shape: Shape): Tensor
  transpose(perm: readonly number[]): Tensor
  expand(shape: Shape): Tensor
  slice(axis: number, start: number, end: number): Tensor
  /**
   * Rows begin[0] .. begin[0] + length of a named size, decided when the graph runs: begin, end i64
   * [1].
   */
  sliceBy(axis: number, begin: Tensor, end: Tensor, size: string): Tensor
  /** `size` rows along the axis: this in begin[0] .. end[0], zeros around it. */
  padBy(axis: number, begin: Tensor, end: Tensor, size: number): Tensor
  /** Rows of this [n, ...] for ids [...]: this.shape[1..] for each id. */
  gather(ids: Tensor): Tensor
  /** this[i, ids[i, j]] along the last axis. */
  gatherElements(ids: Tensor): Tensor
  /** this with rows[i] added to row ids[i]: this [V, C], ids [T], rows [T, C]. */
  scatterAdd(ids: Tensor, rows: Tensor): Tensor
}
