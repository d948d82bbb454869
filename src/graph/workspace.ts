import type { Graph } from "./graph.ts"
import { worksInPlace } from "./in-place.ts"
import type { DType, Shape } from "./shape.ts"
import type { Tensor } from "./tensor.ts"

const BYTES: Readonly<Record<DType, number>> = {
  ...{ f32: 4, bf16: 2, i64: 8, i32: 4, u8: 1, bool: 1 },
}

/** Sizes of named dimensions. */
export type Sizes = (name: string) => number

/** Bytes of a tensor; a named dimension has the size that `sizes` gives it. */
export function tensorBytes(
  { shape, dtype }: { readonly shape: Shape; readonly dtype: DType },
  sizes: Sizes = unknownSize,
): number {
  return shape.reduce<number>(
    (bytes, dim) => bytes * (typeof dim === "number" ? dim : sizes(dim)),
    BYTES[dtype],
  )
}

function unknownSize(name: string): number {
  throw new Error(`the size of ${name} was not given`)
}

/**
 * The most bytes of intermediates that exist at once when the nodes run in their order, each let
 * go of after its last reader. Inputs and results have places of their own and are not counted; a
 * reshape is a view, and an op that can work in place takes over an input that it is the last to
 * read.
 */
export function workspaceBytes(graph: Graph, sizes?: Sizes): number {
  const outside = new Set<Tensor>(Object.values(graph.results))
  const owner = new Map<Tensor, Tensor>()
  const lastReader = new Map<Tensor, Tensor>()
  for (const node of graph.nodes) {
    owner.set(node, node.op === "reshape" ? owner.get(node.inputs[0]!)! : node)
    if (node.op === "input") outside.add(node)
    for (const read of node.inputs) lastReader.set(owner.get(read)!, node)
  }
  let now = 0
  let most = 0
  const held = new Map<Tensor, number>()
  for (const node of graph.nodes) {
    const dying = [...new Set(node.inputs.map((read) => owner.get(read)!))].filter(
      (read) => held.has(read) && lastReader.get(read) === node,
    )
    if (!outside.has(node) && owner.get(node) === node) {
      const taken = dying.find((read) => worksInPlace(node, read))
      held.set(node, taken ? held.get(taken)! : tensorBytes(node, sizes))
      if (taken) held.delete(taken)
      else now += held.get(node)!
      most = Math.max(most, now)
    }
    for (const read of dying) {
      now -= held.get(read) ?? 0
      held.delete(read)
    }
  }
  return most
}
