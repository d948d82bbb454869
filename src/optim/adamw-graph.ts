import { graph, input, type Tensor } from "../graph/index.ts"
import { type Device, type DeviceTensor, type Executable, float32 } from "../runtime/index.ts"

export interface AdamWSettings {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
}

/** A parameter with its gradient and moments, all float32 of one shape, on the device. */
export interface AdamWTensors {
  readonly parameter: DeviceTensor
  readonly gradient: DeviceTensor
  readonly first: DeviceTensor
  readonly second: DeviceTensor
}

export interface AdamWStep {
  /** From 1. */
  readonly step: number
  readonly learningRate: number
  /** What the accumulated gradient is multiplied with: 1 / count, times the clipping factor. */
  readonly gradientScale: number
  /** Whether weight decay applies to this parameter. */
  readonly decay: boolean
}

export interface AdamW {
  /**
   * One update. In place on the CPU; elsewhere the given parameter and moments are disposed of
   * when new ones take their place: go on with what is returned.
   */
  update(tensors: AdamWTensors, step: AdamWStep): Promise<Omit<AdamWTensors, "gradient">>
  release(): Promise<void>
}

/** Elements of one run: few enough that intermediates stay in cache, many enough to pay for it. */
const CHUNK = 262_144

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
  { step, learningRate, gradientScale, decay }: AdamWStep,
): Scalars {
  const rootOfCorrection = Math.sqrt(1 - beta2 ** step)
  return {
    keep: decay ? 1 - learningRate * weightDecay : 1,
    rate: (learningRate * rootOfCorrection) / (1 - beta1 ** step),
    epsilon: epsilon * rootOfCorrection,
    gradientToFirst: (1 - beta1) * gradientScale,
    squareToSecond: (1 - beta2) * gradientScale * gradientScale,
  }
}

/**
 * AdamW (arXiv 1711.05101, algorithm 2) over p, m, v, g of one shape, known when it runs:
 *
 *     m <- b1 m + (1 - b1) s g,   v <- b2 v + (1 - b2) s^2 g^2,   p <- keep p - rate m / (sqrt(v) + eps')
 */
function adamwGraph({ beta1, beta2 }: AdamWSettings, rank: number) {
  const s = Object.fromEntries(SCALARS.map((name) => [name, input(name, [])])) as Readonly<
    Record<keyof Scalars, Tensor>
  >
  const shape = Array.from({ length: rank }, (_, axis) => `n${axis}`)
  const [p, m, v, g] = [input("p", shape), input("m", shape), input("v", shape), input("g", shape)]
  const first = m.mul(beta1).add(g.mul(s.gradientToFirst))
  const second = v.mul(beta2).add(g.mul(g).mul(s.squareToSecond))
  const change = first.mul(s.rate).div(second.sqrt().add(s.epsilon))
  return graph("adamw", {
    parameter: p.mul(s.keep).sub(change),
    first,
    second,
  })
}

type Feeds = Record<string, DeviceTensor>

/** Compiles AdamW for a device. */
export async function createAdamW(device: Device, settings: AdamWSettings): Promise<AdamW> {
  const compiled = new Map<number, Promise<Executable>>()
  const executable = (rank: number) => {
    const known = compiled.get(rank) ?? device.compile(adamwGraph(settings, rank))
    compiled.set(rank, known)
    return known
  }
  const run = async (tensors: AdamWTensors, scalarFeeds: Feeds) => {
    const { parameter, gradient: g, first, second } = tensors
    const feeds = { ...scalarFeeds, p: parameter, m: first, v: second, g }
    const update = await executable(parameter.shape.length)
    return update.run(feeds, { into: { parameter, first, second } })
  }

  return {
    async update(tensors, step) {
      const scalarFeeds: Feeds = {}
      for (const [name, value] of Object.entries(adamwScalars(settings, step))) {
        scalarFeeds[name] = await device.upload(float32([], Float32Array.of(value)))
      }
      if (tensors.parameter.data !== undefined) {
        for (const chunk of await chunksOf(device, tensors)) await run(chunk, scalarFeeds)
        return tensors
      }
      const { parameter, first, second } = await run(tensors, scalarFeeds)
      for (const scalar of Object.values(scalarFeeds)) scalar.dispose()
      return { parameter: parameter!, first: first!, second: second! }
    },
    async release() {
      for (const each of compiled.values()) await (await each).release()
    },
  }
}

/** Views of the host arrays, CHUNK elements each and the rest; nothing is copied. */
async function chunksOf(device: Device, tensors: AdamWTensors): Promise<AdamWTensors[]> {
  const view = (tensor: DeviceTensor, start: number) => {
    const data = (tensor.data as Float32Array).subarray(start, start + CHUNK)
    return device.upload({ dtype: "f32", shape: [data.length], data })
  }
  const pieces: AdamWTensors[] = []
  for (let start = 0; start < tensors.parameter.data!.length; start += CHUNK) {
    pieces.push({
      parameter: await view(tensors.parameter, start),
      gradient: await view(tensors.gradient, start),
      first: await view(tensors.first, start),
      second: await view(tensors.second, start),
    })
  }
  return pieces
}
