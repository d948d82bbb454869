import { graph } from "../graph/index.ts"
import type { Device, HostUpdates } from "../runtime/index.ts"
import { keptShare } from "./decays.ts"
import {
  type ElementwiseUpdate,
  elementwiseUpdate,
  type UpdateArrays,
  type UpdateStep,
  type UpdateTensors,
} from "./elementwise.ts"

export interface AdamWSettings {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
}

type Moment = "first" | "second"
export type AdamWTensors = UpdateTensors<Moment>

const SCALARS = ["keep", "rate", "epsilon", "gradientToFirst", "squareToSecond"] as const
type Scalars = Readonly<Record<(typeof SCALARS)[number], number>>

/**
 * The numbers that are the same for all elements. With c1 = 1 - b1^t and c2 = 1 - b2^t,
 *
 *     lr / c1 m / (sqrt(v / c2) + eps) = (lr sqrt(c2) / c1) m / (sqrt(v) + eps sqrt(c2))
 *
 * so that both bias corrections cost no pass over the elements.
 */
export function adamwScalars(
  { beta1, beta2, epsilon, weightDecay }: AdamWSettings,
  at: UpdateStep,
): Scalars {
  const { step, learningRate, gradientScale } = at
  const rootOfCorrection = Math.sqrt(1 - beta2 ** step)
  return {
    keep: keptShare(at, { weightDecay }),
    rate: (learningRate * rootOfCorrection) / (1 - beta1 ** step),
    epsilon: epsilon * rootOfCorrection,
    gradientToFirst: (1 - beta1) * gradientScale,
    squareToSecond: (1 - beta2) * gradientScale * gradientScale,
  }
}

/** For a kernel of the host: those of a step, then beta1 and beta2. */
export function adamwNumbers(settings: AdamWSettings, scalars: Scalars): Float32Array {
  return Float32Array.of(...SCALARS.map((name) => scalars[name]), settings.beta1, settings.beta2)
}

/** Numbers that a kernel of the host is given at a time. */
const PIECE = 2 ** 20

/** The same update by a kernel of the host, to the same bits. */
function onHost({ adamw }: HostUpdates, settings: AdamWSettings) {
  return async (
    { parameter, gradient, first, second }: UpdateArrays<Moment>,
    scalars: Scalars,
  ): Promise<void> => {
    const numbers = adamwNumbers(settings, scalars)
    const pieces: Promise<void>[] = []
    for (let start = 0; start < parameter.length; start += PIECE) {
      const [p, g, m, v] = [parameter, gradient, first, second].map((array) =>
        array.subarray(start, start + PIECE),
      )
      pieces.push(adamw(p!, g!, m!, v!, numbers))
    }
    await Promise.all(pieces)
  }
}

/**
 * AdamW (arXiv 1711.05101, algorithm 2) over p, m, v, g of one shape, known when it runs:
 *
 *     m <- b1 m + (1 - b1) s g,   v <- b2 v + (1 - b2) s^2 g^2,   p <- keep p - rate m / (sqrt(v) + eps')
 */
export async function createAdamW(
  device: Device,
  settings: AdamWSettings,
): Promise<ElementwiseUpdate<Moment>> {
  const { beta1, beta2 } = settings
  return elementwiseUpdate<Moment, keyof Scalars>(device, SCALARS, {
    moments: ["first", "second"],
    scalars: (step) => adamwScalars(settings, step),
    graph: ({ parameter: p, gradient: g, first: m, second: v }, s) => {
      const first = m.mul(beta1).add(g.mul(s.gradientToFirst))
      const second = v.mul(beta2).add(g.mul(g).mul(s.squareToSecond))
      const change = first.mul(s.rate).div(second.sqrt().add(s.epsilon))
      return graph("adamw", { parameter: p.mul(s.keep).sub(change), first, second })
    },
    ...(device.updates ? { onHost: onHost(device.updates, settings) } : {}),
  })
}
