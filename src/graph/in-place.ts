import type { Graph } from "./graph.ts"
import { sameShape } from "./shape.ts"
import type { OpName, Tensor } from "./tensor.ts"

/** Ops that read an element before they write the same one, by the inputs this holds for. */
const ELEMENT_BY_ELEMENT: ReadonlySet<OpName> = new Set<OpName>([
  ...(["neg", "exp", "log", "sqrt", "reciprocal", "sigmoid", "detach", "not", "cast"] as const),
  ...(["add", "sub", "mul", "div", "pow", "max", "min", "where"] as const),
])

/**
 * Whether the result `output` may be written over the input `name`: nothing may read the input
 * after the write, and the op that writes must be one that can work in place. Returns what stands
 * against it, or undefined.
 */
export function overwriteProblem(graph: Graph, name: string, output: string): string | undefined {
  const result = graph.results[output]!
  const before = ancestors(result)
  for (const [reader, read] of readers(graph, name)) {
    if (reader === result) {
      if (!worksInPlace(result, read)) return `${reader.op} cannot work in place`
    } else if (!before.has(reader)) return `${reader.op} reads it afterwards`
  }
  return undefined
}

/** Whether the op can write its result over this input of its. */
export function worksInPlace(node: Tensor, read: Tensor): boolean {
  if (!sameShape(node.shape, read.shape)) return false
  if (node.op === "gemm") return node.inputs[0] !== read && node.inputs[1] !== read
  // The rows written are others than the rows read; ONNX Runtime copies unless it is the same
  // memory.
  if (node.op === "scatterAdd") return node.inputs[0] === read && node.inputs[2] !== read
  return ELEMENT_BY_ELEMENT.has(node.op) || node.op === "cacheAfter"
}

/** Nodes that read the input, also through a reshape, which is another view of the same memory. */
function readers(graph: Graph, name: string): [reader: Tensor, read: Tensor][] {
  const views = new Set(graph.nodes.filter((node) => node.op === "input" && node.label === name))
  const found: [Tensor, Tensor][] = []
  for (const node of graph.nodes) {
    for (const source of node.inputs.filter((x) => views.has(x))) {
      if (node.op === "reshape") views.add(node)
      else found.push([node, source])
    }
  }
  return found
}

function ancestors(node: Tensor, found = new Set<Tensor>()): Set<Tensor> {
  for (const source of node.inputs) {
    if (found.has(source)) continue
    found.add(source)
    ancestors(source, found)
  }
  return found
}
