import { topologicalOrder } from "./order.ts"
import type { Attributes, Tensor } from "./tensor.ts"
import { apply } from "./trace.ts"

/**
 * The same outputs from fewer nodes: equal nodes are shared, `detach` and composites (which only
 * matter to reverse mode) vanish, and `a b + c` of rank 2 becomes one Gemm.
 */
export function simplify(
  outputs: Readonly<Record<string, Tensor>>,
): Readonly<Record<string, Tensor>> {
  return mapValues(fuseAdditions(shareNodes(outputs)))
}

export type Outputs = ReadonlyMap<string, Tensor>

const mapValues = (outputs: Outputs) => Object.fromEntries(outputs)

/** Rebuilds the graph bottom up; `rebuild` gets a node with its inputs already replaced. */
export function rewrite(
  outputs: Outputs,
  rebuild: (node: Tensor, inputs: readonly Tensor[]) => Tensor,
): Outputs {
  const replaced = new Map<Tensor, Tensor>()
  for (const node of topologicalOrder([...outputs.values()])) {
    const inputs = node.inputs.map((x) => replaced.get(x)!)
    replaced.set(node, rebuild(node, inputs))
  }
  return new Map([...outputs].map(([name, node]) => [name, replaced.get(node)!]))
}

function shareNodes(outputs: Readonly<Record<string, Tensor>>): Outputs {
  const known = new Map<string, Tensor>()
  return rewrite(new Map(Object.entries(outputs)), (node, inputs) => {
    if (node.op === "detach" || node.op === "composite") return inputs[0]!
    if (node.op === "reshape" && sameDims(node, inputs[0]!)) return inputs[0]!
    const key = `${node.op} ${inputs.map((x) => x.id)} ${JSON.stringify(node.attributes)} ${node.shape}`
    const shared = known.get(key)
    if (shared) return shared
    const made = node.withInputs(inputs)
    known.set(key, made)
    return made
  })
}

const sameDims = (a: Tensor, b: Tensor) => `${a.shape}` === `${b.shape}`

function fuseAdditions(outputs: Outputs): Outputs {
  const uses = new Map<Tensor, number>()
  const count = (node: Tensor) => uses.set(node, (uses.get(node) ?? 0) + 1)
  for (const node of topologicalOrder([...outputs.values()])) node.inputs.forEach(count)
  for (const node of outputs.values()) count(node)

  /** A product of rank 2 that nothing else needs. */
  const isOwnProduct = (x: Tensor, sum: Tensor) =>
    x.op === "matmul" && x.rank === 2 && sameDims(x, sum) && uses.get(x) === 1
  return rewrite(outputs, (node, inputs) => {
    if (node.op === "add") {
      const i = node.inputs.findIndex((x) => isOwnProduct(x, node))
      // A scalar's broadcast copy would cost what the addition costs.
      if (i >= 0 && node.inputs[1 - i]!.rank > 0) {
        const { inputs: factors, attributes } = inputs[i]!
        return apply("gemm", [...factors, inputs[1 - i]!], attributes as Attributes["gemm"])
      }
    }
    return node.withInputs(inputs)
  })
}
