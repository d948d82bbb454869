import { assert } from "../errors.ts"
import { type Graph, graph } from "./graph.ts"
import { topologicalOrder } from "./order.ts"
import { rewrite, simplify } from "./simplify.ts"
import type { OpName, Tensor } from "./tensor.ts"
import { input } from "./trace.ts"

/**
 * What the backward finds of the forward pass when it starts:
 * - `keep`: every value that is dear to compute (products, softmax), cheap ones are computed again;
 * - `products`: the same without attention's probabilities, the only values that grow with T^2;
 * - `recompute`: nothing but the inputs, the whole forward runs again.
 */
export const KEEP_LEVELS = ["keep", "products", "recompute"] as const
export type KeepLevel = (typeof KEEP_LEVELS)[number]

/** Ops whose results are kept for the backward pass, by level. Other results are computed again. */
const KEPT: Readonly<Record<KeepLevel, ReadonlySet<OpName>>> = {
  keep: new Set<OpName>(["matmul", "gemm", "softmax", "gather"]),
  products: new Set<OpName>(["matmul", "gemm", "gather"]),
  recompute: new Set<OpName>(),
}

export interface ForwardBackward {
  readonly forward: Graph
  readonly backward: Graph
  /** Outputs of `forward` that are inputs of `backward` under the same names. */
  readonly saved: readonly string[]
}

type Outputs = Readonly<Record<string, Tensor>>

/**
 * Cuts a traced function and its gradient into two graphs at the values that `level` keeps.
 * Inputs that both need (weights, the function's own arguments) are inputs of both.
 */
export function partition(
  name: string,
  forward: Outputs,
  backward: Outputs,
  level: KeepLevel,
): ForwardBackward {
  const both = simplify({ ...forward, ...backward })
  const pick = (keys: Outputs) => Object.fromEntries(Object.keys(keys).map((k) => [k, both[k]!]))
  const forwardNodes = new Set(topologicalOrder(Object.values(pick(forward))))

  const kept = new Map<Tensor, string>()
  const seen = new Set<Tensor>()
  const visit = (node: Tensor) => {
    if (seen.has(node)) return
    seen.add(node)
    // Probabilities over a dynamic range of keys are what `products` computes again.
    const large = level === "products" && node.shape.some((dim) => typeof dim === "string")
    if (forwardNodes.has(node) && KEPT[level].has(node.op) && !large) {
      kept.set(node, `saved.${kept.size}`)
      return
    }
    node.inputs.forEach(visit)
  }
  Object.values(pick(backward)).forEach(visit)

  const saved = Object.fromEntries([...kept].map(([node, key]) => [key, node]))
  const cut = rewrite(new Map(Object.entries(pick(backward))), (node, inputs) => {
    const key = kept.get(node)
    return key ? input(key, node.shape, node.dtype) : node.withInputs(inputs)
  })
  assert(cut.size === Object.keys(backward).length, `${name}: lost an output of the backward`)
  return {
    forward: graph(`${name}.forward`, { ...pick(forward), ...saved }),
    backward: graph(`${name}.backward`, Object.fromEntries(cut)),
    saved: Object.keys(saved),
  }
}
