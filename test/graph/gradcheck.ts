import {
  type Graph,
  gradients,
  graph,
  input,
  type NdArray,
  ndarray,
  type Tensor,
} from "../../src/graph/index.ts"
import { interpret } from "../../src/runtime/index.ts"
import { spread } from "./op-cases.ts"

type Feeds = Readonly<Record<string, NdArray>>

/** The graph of `output`, and of its gradients given the input `dy`: `d.NAME` for each of `wrt`. */
export function traced(output: Tensor, wrt: readonly Tensor[]) {
  const dy = input("dy", output.shape)
  const found = gradients([{ output, gradient: dy }], wrt)
  const reached = wrt.flatMap((x, i) => (found[i] ? [[`d.${x.label}`, found[i]] as const] : []))
  return {
    forward: graph("forward", { y: output }),
    backward: graph("backward", Object.fromEntries(reached)),
    reached: reached.map(([name]) => name.slice(2)),
  }
}

/** Numbers to start reverse mode with, one per element of the output. */
export function seedFor(y: NdArray): NdArray {
  return ndarray(y.shape, spread(y.data.length, [-1, 1], 9))
}

/** d sum(y dy) / d x by central differences in float64, element by element. */
export function finiteDifferences(forward: Graph, feeds: Feeds, name: string, dy: NdArray) {
  const x = feeds[name]!
  const loss = (data: Float64Array) => {
    const { y } = interpret(forward, { ...feeds, [name]: { shape: x.shape, data } })
    return y!.data.reduce((sum, value, i) => sum + value * dy.data[i]!, 0)
  }
  const h = 1e-5
  return x.data.map((_, i) => {
    const moved = (by: number) => loss(x.data.with(i, x.data[i]! + by))
    return (moved(h) - moved(-h)) / (2 * h)
  })
}

/** The largest difference, beside the size of what was expected. */
export function difference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY
  let worst = 0
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [actual[i]!, expected[i]!]
    const apart = a === b ? 0 : Math.abs(a - b) / (1 + Math.abs(b))
    worst = Math.max(worst, Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart)
  }
  return worst
}
