import type { DType, Graph, Tensor } from "../../graph/index.ts"
import type { Target } from "./lowering.ts"

/**
 * Nodes whose integers say how much of something to take. They stay int64 in host memory on every
 * device, and what they are computed from too; a slice's size is needed before a kernel starts.
 */
export function hostIntegers(graph: Graph): ReadonlySet<Tensor> {
  const found = new Set<Tensor>()
  for (const node of graph.nodes.toReversed()) {
    if (node.op === "sliceBy") for (const bound of node.inputs.slice(1)) found.add(bound)
    if (found.has(node)) for (const source of node.inputs) found.add(source)
  }
  return found
}

/** How each input and output of `graph` is stored for `target`, where that is not its type. */
export function storedAs(graph: Graph, target: Target): ReadonlyMap<string, DType> {
  const onHost = hostIntegers(graph)
  const stored = new Map<string, DType>()
  if (target !== "webgpu") return stored
  const add = (name: string, node: Tensor) => {
    if (node.dtype === "i64" && !onHost.has(node)) stored.set(name, "i32")
  }
  for (const node of graph.nodes) if (node.op === "input") add(node.label, node)
  for (const [name, node] of Object.entries(graph.results)) add(name, node)
  return stored
}
