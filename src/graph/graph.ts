import { assert, InputError } from "../errors.ts"
import { topologicalOrder } from "./order.ts"
import type { DType, Shape } from "./shape.ts"
import { simplify } from "./simplify.ts"
import type { Tensor } from "./tensor.ts"

export interface Port {
  readonly name: string
  readonly dtype: DType
  readonly shape: Shape
}

/** A traced function: named inputs to named outputs, nodes in an order that can be executed. */
export interface Graph {
  readonly name: string
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  readonly nodes: readonly Tensor[]
  readonly results: Readonly<Record<string, Tensor>>
}

/** The graph of `outputs`: shared parts once, a product and the addition after it as one node. */
export function graph(name: string, outputs: Readonly<Record<string, Tensor>>): Graph {
  const results = simplify(outputs)
  const nodes = topologicalOrder(Object.values(results))
  const inputs = new Map<string, Tensor>()
  for (const node of nodes) {
    if (node.op !== "input") continue
    const known = inputs.get(node.label)
    if (known && known !== node) throw new InputError(`${name}: two inputs named ${node.label}`)
    inputs.set(node.label, node)
  }
  for (const key of Object.keys(results))
    assert(!inputs.has(key), `${name}: ${key} is an input too`)
  const port = (key: string, node: Tensor): Port => {
    return { name: key, dtype: node.dtype, shape: node.shape }
  }
  return {
    name,
    inputs: [...inputs].map(([key, node]) => port(key, node)),
    outputs: Object.entries(results).map(([key, node]) => port(key, node)),
    nodes,
    results,
  }
}
