import { InputError } from "../errors.ts"

/** A dimension: a fixed size, or a name that takes its size when the graph runs. */
export type Dim = number | string
export type Shape = readonly Dim[]
/** `bf16`, bfloat16, is what values are kept as: it can only be cast from `f32` and back. */
export type DType = "f32" | "bf16" | "i64" | "i32" | "u8" | "bool"

export interface TensorType {
  readonly dtype: DType
  readonly shape: Shape
}

export function shapeText(shape: Shape): string {
  return `[${shape.join(", ")}]`
}

/** The axis from the front, for an axis that may count from the back. */
export function axisOf(axis: number, rank: number): number {
  const front = axis < 0 ? axis + rank : axis
  if (front < 0 || front >= rank)
    throw new InputError(`axis ${axis} does not exist in rank ${rank}`)
  return front
}

/** NumPy broadcasting of two shapes; a named dimension matches itself or 1. */
export function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1
    const y = b[b.length - rank + i] ?? 1
    if (x === y || y === 1) return x
    if (x === 1) return y
    throw new InputError(`shapes ${shapeText(a)} and ${shapeText(b)} do not fit together`)
  })
}

/** The number of elements, or undefined where a dimension has only a name. */
export function sizeOf(shape: Shape): number | undefined {
  let size = 1
  for (const dim of shape) {
    if (typeof dim === "string") return undefined
    size *= dim
  }
  return size
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i])
}

/** Refuses a tensor of another element type. */
export function expectType({ dtype }: TensorType, expected: DType): void {
  if (dtype !== expected) throw new InputError(`expected ${expected}, got ${dtype}`)
}

/** Refuses ids that are no whole numbers. */
export function expectIds({ dtype }: TensorType): void {
  if (dtype !== "i64" && dtype !== "i32") {
    throw new InputError(`the ids must be whole numbers, got ${dtype}`)
  }
}
