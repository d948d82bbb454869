import type { Graph, NdArray } from "../../src/graph/index.ts"
import { interpret } from "../../src/runtime/index.ts"

type Feeds = Readonly<Record<string, NdArray>>

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
