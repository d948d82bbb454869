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

/** Elements per chunk: its intermediates stay in the second-level cache. */
const CHUNK = 32_768
/** Chunks of one run, so that a run's own cost does not count. */
const CHUNKS_PER_RUN = 4

const SCALARS = ["keep", "rate", "epsilon", "gradientToFirst", "squareToSecond"] as const
type Scalars = Readonly<Record<(typeof SCALARS)[number], number>>

/**
 * The numbers that are the same for all elements. With c1 = 1 - b1^t and c2 = 1 - b2^t,
 *
 *     lr / c1 m / (sqrt(v / c2) + eps) = (lr sqrt(c2) / c1) m / (sqrt(v) + eps sqrt(c2))
 *
 * so that both bias corrections cost no pass over the elements.
 */
function scalars(
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
 * AdamW (arXiv 1711.05101, algorithm 2) over `chunks` sets of p, m, v, g of one named size:
 *
 *     m <- b1 m + (1 - b1) s g,   v <- b2 v + (1 - b2) s^2 g^2,   p <- keep p - rate m / (sqrt(v) + eps')
 */
function adamwGraph({ beta1, beta2 }: AdamWSettings, chunks: number, rank: number) {
  const s = Object.fromEntries(SCALARS.map((name) => [name, input(name, [])])) as Readonly<
    Record<keyof Scalars, Tensor>
  >
  const shape = Array.from({ length: rank }, (_, axis) => `n${axis}`)
  const outputs: Record<string, Tensor> = {}
  for (let k = 0; k < chunks; k++) {
    const [p, m, v, g] = ["p", "m", "v", "g"].map((name) => input(`${name}${k}`, shape)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ]
    const first = m.mul(beta1).add(g.mul(s.gradientToFirst))
    const second = v.mul(beta2).add(g.mul(g).mul(s.squareToSecond))
    const change = first.mul(s.rate).div(second.sqrt().add(s.epsilon))
    outputs[`p${k}.next`] = p.mul(s.keep).sub(change)
    outputs[`m${k}.next`] = first
    outputs[`v${k}.next`] = second
  }
  return graph("adamw", outputs)
}

type Feeds = Record<string, DeviceTensor>

/** Compiles AdamW for a device. */
export async function createAdamW(device: Device, settings: AdamWSettings): Promise<AdamW> {
  const compiled = new Map<string, Promise<Executable>>()
  const executable = (chunks: number, rank: number) => {
    const key = `${chunks} ${rank}`
    const known = compiled.get(key) ?? device.compile(adamwGraph(settings, chunks, rank))
    compiled.set(key, known)
    return known
  }

  const run = async (sets: readonly AdamWTensors[], scalarFeeds: Feeds) => {
    const feeds: Feeds = { ...scalarFeeds }
    const into: Feeds = {}
    sets.forEach(({ parameter, gradient, first, second }, k) => {
      Object.assign(feeds, {
        [`p${k}`]: parameter,
        [`m${k}`]: first,
        [`v${k}`]: second,
        [`g${k}`]: gradient,
      })
      Object.assign(into, {
        [`p${k}.next`]: parameter,
        [`m${k}.next`]: first,
        [`v${k}.next`]: second,
      })
    })
    const update = await executable(sets.length, sets[0]!.parameter.shape.length)
    return update.run(feeds, { into })
  }

  return {
    async update(tensors, step) {
      const scalarFeeds: Feeds = {}
      for (const [name, value] of Object.entries(scalars(settings, step))) {
        scalarFeeds[name] = await device.upload(float32([], Float32Array.of(value)))
      }
      try {
        if (tensors.parameter.data === undefined) {
          const next = await run([tensors], scalarFeeds)
          return { parameter: next["p0.next"]!, first: next["m0.next"]!, second: next["v0.next"]! }
        }
        const pieces = await chunksOf(device, tensors)
        while (pieces.length > 0) {
          const even = pieces.length > CHUNKS_PER_RUN
          await run(pieces.splice(0, even ? CHUNKS_PER_RUN : 1), scalarFeeds)
        }
        return tensors
      } finally {
        for (const scalar of Object.values(scalarFeeds)) scalar.dispose()
      }
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
