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

export interface PartitionOptions {
  readonly level: KeepLevel
  /**
   * Kept values are rounded to bfloat16, which halves them; and so are the inputs named, which the
   * backward then takes from what is saved. Two kinds stay as they are: what a comparison is made
   * of, which must come out as it did, and what an exact product takes, which may be a small
   * difference.
   */
  readonly narrowed?: readonly string[] | undefined
}

/**
 * Cuts a traced function and its gradient into two graphs at the values that `level` keeps.
 * Inputs that both need (weights, the function's own arguments) are inputs of both.
 */
export function partition(
  name: string,
  forward: Outputs,
  backward: Outputs,
  { level, narrowed }: PartitionOptions,
): ForwardBackward {
  const both = simplify({ ...forward, ...backward })
  const pick = (keys: Outputs) => Object.fromEntries(Object.keys(keys).map((k) => [k, both[k]!]))
  const forwardNodes = new Set(topologicalOrder(Object.values(pick(forward))))

  const kept = new Map<Tensor, string>()
  const again = reachable(Object.values(pick(backward)), (node) => {
    // Probabilities over a dynamic range of keys are what `products` computes again.
    const large = level === "products" && node.shape.some((dim) => typeof dim === "string")
    if (!forwardNodes.has(node) || !KEPT[level].has(node.op) || large) return false
    kept.set(node, `saved.${kept.size}`)
    return true
  })
  const whole = narrowed && unroundedValues(again, kept)
  for (const node of again) {
    const isNamed = node.op === "input" && narrowed?.includes(node.label)
    if (isNamed && !whole?.has(node)) kept.set(node, `saved.${node.label}`)
  }
  const isNarrow = (node: Tensor) => whole !== undefined && !whole.has(node) && canBeNarrow(node)

  const saved = Object.fromEntries(
    [...kept].map(([node, key]) => [key, isNarrow(node) ? node.cast("bf16") : node]),
  )
  const cut = rewrite(new Map(Object.entries(pick(backward))), (node, inputs) => {
    const key = kept.get(node)
    if (!key) return node.withInputs(inputs)
    return isNarrow(node)
      ? input(key, node.shape, "bf16").cast("f32")
      : input(key, node.shape, node.dtype)
  })
  assert(cut.size === Object.keys(backward).length, `${name}: lost an output of the backward`)
  return {
    forward: graph(`${name}.forward`, { ...pick(forward), ...saved }),
    backward: graph(`${name}.backward`, Object.fromEntries(cut)),
    saved: Object.keys(saved),
  }
}

/** Nodes that `roots` are computed from, without those at which `stop` says to go no further. */
function reachable(roots: readonly Tensor[], stop: (node: Tensor) => boolean): Set<Tensor> {
  const found = new Set<Tensor>()
  const stopped = new Set<Tensor>()
  const visit = (node: Tensor) => {
    if (found.has(node) || stopped.has(node)) return
    if (stop(node)) {
      stopped.add(node)
      return
    }
    found.add(node)
    node.inputs.forEach(visit)
  }
  roots.forEach(visit)
  return found
}

/** Ops whose result jumps: of a rounded argument it may be another. */
const JUMPS: ReadonlySet<OpName> = new Set<OpName>([
  ...(["less", "lessOrEqual", "equal", "argMax", "topK"] as const),
])

const isProduct = ({ op }: Tensor) => op === "matmul" || op === "gemm"
const isExact = (node: Tensor) => isProduct(node) && (node as Tensor<"matmul">).attributes.exact

/** Of kept values and inputs, those that the backward must find as they were. */
function unroundedValues(
  again: ReadonlySet<Tensor>,
  kept: ReadonlyMap<Tensor, string>,
): ReadonlySet<Tensor> {
  const found = new Set<Tensor>()
  const collect = (of: (node: Tensor) => unknown, stop: (node: Tensor) => boolean) => {
    const roots = [...again].filter(of).flatMap(({ inputs }) => inputs)
    const before = reachable(roots, (node) => {
      if (kept.has(node)) found.add(node)
      return kept.has(node) || stop(node)
    })
    for (const node of before) if (node.op === "input") found.add(node)
  }
  collect(
    ({ op }) => JUMPS.has(op),
    () => false,
  )
  collect(isExact, isProduct) // the factors of another product are rounded in any case
  return found
}

/**
 * Probabilities are not: the backward of a softmax takes differences of them that nearly cancel.
 */
const canBeNarrow = ({ op, dtype, shape }: Tensor) =>
  dtype === "f32" && op !== "softmax" && shape.every((dim) => typeof dim === "number")
