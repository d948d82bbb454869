import { graph, lift } from "../graph/index.ts"
import type { Device } from "../runtime/index.ts"
import type { AdamWSettings } from "./adamw-graph.ts"
import { keptShare } from "./decays.ts"
import { type ElementwiseUpdate, elementwiseUpdate } from "./elementwise.ts"

export type LionSettings = Pick<AdamWSettings, "beta1" | "beta2" | "weightDecay">

const SCALARS = ["keep", "rate", "gradientToChange", "gradientToFirst", "one"] as const

/**
 * Lion (arXiv 2302.06675, algorithm 2) over p, m, g of one shape, known when it runs:
 *
 *     c = b1 m + (1 - b1) s g,   p <- keep p - rate sign(c),   m <- b2 m + (1 - b2) s g
 */
export async function createLion(
  device: Device,
  { beta1, beta2, weightDecay }: LionSettings,
): Promise<ElementwiseUpdate<"first">> {
  return elementwiseUpdate<"first", (typeof SCALARS)[number]>(device, SCALARS, {
    moments: ["first"],
    scalars: ({ learningRate, gradientScale, ...step }) => ({
      keep: keptShare({ learningRate, ...step }, { weightDecay }),
      rate: learningRate,
      gradientToChange: (1 - beta1) * gradientScale,
      gradientToFirst: (1 - beta2) * gradientScale,
      one: 1,
    }),
    graph: ({ parameter: p, gradient: g, first: m }, s) => {
      const read = m.mul(s.one) // once: what is read again later cannot be written over
      const change = read.mul(beta1).add(g.mul(s.gradientToChange))
      const positive = lift(0).less(change).where(1, 0)
      const sign = positive.sub(change.less(0).where(1, 0))
      return graph("lion", {
        parameter: p.mul(s.keep).sub(sign.mul(s.rate)),
        first: read.mul(beta2).add(g.mul(s.gradientToFirst)),
      })
    },
  })
}
