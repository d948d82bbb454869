import type { Tensor } from "./tensor.ts"

/** Nodes that `roots` need, inputs before users. */
export function topologicalOrder(roots: readonly Tensor[]): Tensor[] {
  const order: Tensor[] = []
  const seen = new Set<Tensor>()
  const stack: { node: Tensor; next: number }[] = []
  for (const root of roots) {
    if (!seen.has(root)) stack.push({ node: root, next: 0 })
    seen.add(root)
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!
      const child = top.node.inputs[top.next++]
      if (child === undefined) {
        order.push(top.node)
        stack.pop()
      } else if (!seen.has(child)) {
        seen.add(child)
        stack.push({ node: child, next: 0 })
      }
    }
  }
  return order
}
