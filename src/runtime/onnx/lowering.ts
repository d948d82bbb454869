import type { DType, OpName, Tensor } from "../../graph/index.ts"

/**
 * Which kernels a model is written for: ONNX Runtime's on the CPU (WebAssembly's too), or WebGPU's.
 */
export type Target = "cpu" | "webgpu"

/** An ONNX attribute: one field says its kind. */
export type Attribute =
  | { readonly i: number }
  | { readonly f: number }
  | { readonly s: string }
  | { readonly ints: readonly number[] }

export type ConstantType = "f32" | "i64" | "i32"

/** A matrix [rows, columns] of bfloat16 numbers as products read it: opaque bytes. */
export interface Panels {
  bytes(rows: number, columns: number): number
  /** Rows that can be packed apart from those after them are a multiple of this. */
  readonly together: number
  /** A place for a matrix, to be filled. */
  place(rows: number, columns: number): Uint8Array
  /** Packs some rows of a matrix [rows, columns], from `first` on, into its place. */
  fill(place: Uint8Array, some: Float32Array, of: PanelRows): void
}

export interface PanelRows {
  readonly first: number
  readonly rows: number
  readonly columns: number
}

/** Which products are computed by operators of the domain `dftune` (native/). */
export interface OwnProducts {
  /** Those of factors rounded to bfloat16, summed in float32: all but the exact ones. */
  readonly bf16: Panels | undefined
  /** Exact ones that are tall and narrow, at which ONNX Runtime is slow: to the same bits. */
  readonly tall: boolean
}

/** What some kernels of an op do not do, though they take it: with it the result is wrong. */
export type Feature = "softcap"

/** What an op's lowering writes into: nodes and constants, each with a fresh name. */
export interface Emitter {
  readonly target: Target
  readonly own: OwnProducts | undefined
  /** What the device's kernels do not do. */
  readonly lacks: ReadonlySet<Feature>
  /** Whether an input is held as panels of bfloat16. */
  isPacked(node: Tensor): boolean
  /** The name of a node that was lowered before. */
  nameOf(node: Tensor): string
  dataType(dtype: DType): number
  /** How the integers of a node are stored: WebGPU computes with 32 bits only. */
  integers(node: Tensor): "i64" | "i32"
  /** Adds a node; returns its first output's name. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes?: Readonly<Record<string, Attribute>>,
    domain?: string,
    outputs?: number,
  ): string
  constant(dtype: ConstantType, shape: readonly number[], data: readonly number[]): string
}
/** ONNX nodes for one node of a graph; returns the name of the result. */
export type Lowering<Op extends OpName = OpName> = (
  emit: Emitter,
  inputs: readonly string[],
  node: Tensor<Op>,
) => string

/** Every op's lowering: a missing one is a compile error. */
export type LoweringTable = { readonly [Op in OpName]: Lowering<Op> }
