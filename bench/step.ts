import { availableParallelism, cpus } from "node:os"
import { graph, input } from "../src/graph/index.ts"
import { peakMemory } from "../src/host/peak-memory.ts"
import { decoderParameters, elementCount, parameterCount } from "../src/models/block/parameters.ts"
import { Decoder, type HeadSettings } from "../src/models/decoder/decoder.ts"
import { packSequences } from "../src/models/decoder/pack.ts"
import { type AdamWTensors, createAdamW, createSquaredNorm, decays } from "../src/optim/index.ts"
import { type Device, type DeviceTensor, float32 } from "../src/runtime/index.ts"
import { openDevice } from "../src/runtime/node.ts"
import { median, QWEN_HALF_B, timed } from "./block.ts"

const ROUNDS = 5
const TOKENS = 1024
/** Elements of one run. */
const PIECE = 262_144

const dft: HeadSettings = {
  loss: ({ logp }) => ({
    loss: logp.exp().mul(logp).neg(),
    coefficients: { logp: logp.exp().neg() },
  }),
}

/** Small numbers without order, so that no kernel meets only zeros. */
function fill(data: Float32Array, scale: number): Float32Array {
  let state = 1
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[i] = (state / 2 ** 31 - 1) * scale
  }
  return data
}

/** Milliseconds to copy three arrays within themselves, as if it were the update's 28 bytes an element. */
function copyOnce(arrays: readonly Float32Array[]): number {
  const start = performance.now()
  for (const array of arrays) {
    const half = Math.floor(array.length / 2)
    array.copyWithin(0, half)
    array.copyWithin(half, 0, half)
  }
  // Three arrays read and written are 24 bytes an element.
  return ((performance.now() - start) * 28) / 24
}

/** One kernel per array, in place, that reads p, m, v and g and writes p, m and v. */
async function touchOnce(device: Device) {
  const [p, m, v, g] = ["p", "m", "v", "g"].map((name) => input(name, ["n"]))
  const touch = graph("touch", { p2: p!.add(g!), m2: m!.neg(), v2: v!.neg() })
  const executable = await device.compile(touch)
  return async ({ parameter, gradient, first, second }: AdamWTensors) => {
    const length = parameter.data!.length
    for (let i = 0; i < length; i += PIECE) {
      const view = async (tensor: DeviceTensor) => {
        const data = (tensor.data as Float32Array).subarray(i, i + PIECE)
        return device.upload({ dtype: "f32", shape: [data.length], data })
      }
      const feeds = {
        p: await view(parameter),
        m: await view(first),
        v: await view(second),
        g: await view(gradient),
      }
      await executable.run(feeds, { into: { p2: feeds.p, m2: feeds.m, v2: feeds.v } })
    }
  }
}

async function optimizer(device: Device, elements: number) {
  const array = async (scale: number) =>
    device.upload(float32([elements], fill(new Float32Array(elements), scale)))
  const tensors = {
    parameter: await array(0.02),
    gradient: await array(1e-3),
    first: await array(1e-3),
    second: await array(0),
  }
  const adamw = await createAdamW(device, {
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.01,
  })
  const norm = await createSquaredNorm(device)
  const touch = await touchOnce(device)
  const times: Record<"update" | "touch" | "copy" | "norm", number[]> = {
    update: [],
    touch: [],
    copy: [],
    norm: [],
  }
  const arrays = [tensors.parameter, tensors.first, tensors.gradient].map(
    ({ data }) => data as Float32Array,
  )
  for (let round = 0; round <= ROUNDS; round++) {
    const step = { step: round + 1, learningRate: 1e-5, gradientScale: 0.5, decay: true }
    const update = await timed(() => adamw.update(tensors, step))
    const squares = await timed(() => norm.of([tensors.gradient]))
    const touched = await timed(() => touch(tensors))
    // The second moment was negated: back, or its root is no number.
    await touch(tensors)
    const copied = copyOnce(arrays)
    if (round === 0) continue
    times.update.push(update)
    times.norm.push(squares)
    times.touch.push(touched)
    times.copy.push(copied)
  }
  return Object.fromEntries(Object.entries(times).map(([k, v]) => [k, median(v)])) as Readonly<
    Record<keyof typeof times, number>
  >
}

/** One whole step of full fine-tuning: forward, backward, clipping and update; what it takes. */
async function fullStep(device: Device, layers: number) {
  const shape = { ...QWEN_HALF_B, numHiddenLayers: layers }
  const weights = new Map(
    decoderParameters(shape).map(({ name, shape }) => {
      const data = new Float32Array(elementCount(shape))
      return [name, float32(shape, shape.length > 1 ? fill(data, 0.03) : data.fill(1))]
    }),
  )
  const decoder = await Decoder.open({
    device,
    shape,
    weights,
    headRows: 128,
    keep: () => "keep",
  })
  const adamw = await createAdamW(device, {
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.01,
  })
  const norm = await createSquaredNorm(device)
  const tokenIds = Int32Array.from({ length: TOKENS }, (_, i) => (i * 7919) % shape.vocabSize)
  const lossMask = Uint8Array.from(tokenIds, (_, i) => +(i >= TOKENS / 2))
  const pack = packSequences([{ tokenIds, lossMask }])
  const moments = new Map<string, readonly [DeviceTensor, DeviceTensor]>()
  for (const [name, { shape }] of decoder.gradients) {
    moments.set(name, [await device.upload(float32(shape)), await device.upload(float32(shape))])
  }
  const step = async (number: number) => {
    await decoder.train(pack, dft)
    const length = Math.sqrt(await norm.of(decoder.gradients.values()))
    for (const [name, gradient] of decoder.gradients) {
      const parameter = decoder.weights.get(name)!
      const [first, second] = moments.get(name)!
      await adamw.update(
        { parameter, gradient, first, second },
        {
          step: number,
          learningRate: 1e-5,
          gradientScale: 1 / Math.max(1, length),
          decay: decays(parameter.shape),
        },
      )
      ;(gradient.data as Float32Array).fill(0)
    }
  }
  await step(1)
  const milliseconds = await timed(() => step(2))
  const peak = peakMemory()
  await decoder.release()
  return { milliseconds, peak, held: parameterCount(shape) * 16, tokens: TOKENS }
}

/**
 * `npm run bench -- step [--threads N] [--elements N] [--layers N]`: AdamW over the 494M parameters
 * of Qwen2.5-0.5B beside moving its arrays once; then a whole training step of 1,024 tokens and its
 * peak memory beside weights, gradients and moments. `--layers 0` leaves the step out.
 */
export async function run(args: readonly string[]): Promise<void> {
  const option = (name: string, otherwise: number) => {
    const at = args.indexOf(`--${name}`)
    return at >= 0 ? Number(args[at + 1]) : otherwise
  }
  const threads = option("threads", availableParallelism())
  const layers = option("layers", QWEN_HALF_B.numHiddenLayers)
  const elements = option("elements", parameterCount(QWEN_HALF_B))
  const device = await openDevice({ device: "cpu", threads })

  const step = layers > 0 ? await fullStep(device, layers) : undefined
  const ms = await optimizer(device, elements)
  const gigabytes = (elements * 28) / 1e9
  const speed = (milliseconds: number) => `${((gigabytes / milliseconds) * 1e3).toFixed(1)} GB/s`
  const gib = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`
  const rows = [
    ["machine", `${cpus()[0]?.model.trim()}, ${threads} threads`],
    [
      "AdamW",
      `${(elements / 1e6).toFixed(0)}M parameters, ${ms.update.toFixed(0)} ms, ${speed(ms.update)}`,
    ],
    ["copying as many bytes, 1 thread", `${ms.copy.toFixed(0)} ms, ${speed(ms.copy)}`],
    ["one kernel an array, in place", `${ms.touch.toFixed(0)} ms, ${speed(ms.touch)}`],
    ["AdamW / copying", (ms.update / ms.copy).toFixed(2)],
    ["AdamW / one kernel an array", (ms.update / ms.touch).toFixed(2)],
    ["squared norm of the gradients", `${ms.norm.toFixed(0)} ms`],
    ...(step
      ? [
          [
            "a whole step",
            `${step.milliseconds.toFixed(0)} ms, ${TOKENS} tokens, ${layers} layers`,
          ],
          ["peak memory", gib(step.peak)],
          ["weights, gradients, moments", gib(step.held)],
        ]
      : []),
  ] as const
  for (const [name, value] of rows) console.error(`${name!.padEnd(36)}${value}`)
  console.log(JSON.stringify({ threads, elements, milliseconds: ms, step: step ?? null }))
  await device.release()
}
