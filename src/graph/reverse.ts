import { assert } from "../errors.ts"
import { opRow } from "./ops.ts"
import { topologicalOrder } from "./order.ts"
import { sameShape, shapeText } from "./shape.ts"
import type { Tensor } from "./tensor.ts"
import { constant, range } from "./trace.ts"

export interface Seed {
  readonly output: Tensor
  /** d loss / d output, of the output's shape. */
  readonly gradient: Tensor
}

/**
 * Reverse mode: d loss / d x for every x of `wrt`, given d loss / d output for the outputs.
 * Only nodes on a path from `wrt` to an output get a gradient, so frozen inputs cost nothing.
 * null where no gradient reaches x (behind a `detach`, or not used).
 */
export function gradients(seeds: readonly Seed[], wrt: readonly Tensor[]): (Tensor | null)[] {
  const order = topologicalOrder(seeds.map((seed) => seed.output))
  const wanted = new Set(wrt)
  const active = new Set<Tensor>()
  for (const node of order) {
    const sources = node.op === "composite" ? node.inputs.slice(1) : node.inputs
    const blocked = node.op === "detach"
    if (wanted.has(node) || (!blocked && sources.some((x) => active.has(x)))) active.add(node)
  }

  const collected = new Map<Tensor, Tensor>()
  const collect = (node: Tensor, gradient: Tensor) => {
    assert(
      sameShape(node.shape, gradient.shape),
      `gradient of ${node.label} ${shapeText(node.shape)} has shape ${shapeText(gradient.shape)}`,
    )
    const sum = collected.get(node)
    collected.set(node, sum ? sum.add(gradient) : gradient)
  }
  for (const { output, gradient } of seeds) if (active.has(output)) collect(output, gradient)

  for (const node of order.reverse()) {
    const dy = collected.get(node)
    if (!dy || !active.has(node)) continue
    if (!node.inputs.some((x) => active.has(x))) continue
    opRow(node.op)
      .gradient(dy, node as never, { constant, range })
      .forEach((gradient, i) => {
        const x = node.inputs[i]!
        if (gradient && active.has(x)) collect(x, gradient)
      })
  }
  return wrt.map((x) => collected.get(x) ?? null)
}
