import { InputError } from "../errors.ts"
import { type Graph, type NdArray, opRow, type Tensor } from "../graph/index.ts"

/**
 * The judge: a float64 interpreter of a graph, plain and slow. Feeds and results are numbers in
 * row-major order; integers and booleans are numbers too.
 */
export function interpret(
  graph: Graph,
  feeds: Readonly<Record<string, NdArray>>,
): Record<string, NdArray> {
  const values = new Map<Tensor, NdArray>()
  for (const node of graph.nodes) {
    if (node.op === "input") {
      const fed = feeds[node.label]
      if (!fed) throw new InputError(`${graph.name}: the input ${node.label} was not given`)
      values.set(node, fed)
      continue
    }
    const inputs = node.inputs.map((x) => values.get(x)!)
    values.set(node, opRow(node.op).evaluate(inputs, node as never))
  }
  return Object.fromEntries(
    Object.entries(graph.results).map(([name, node]) => [name, values.get(node)!]),
  )
}
