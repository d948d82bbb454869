import { readFileSync } from "node:fs"
import { afterAll, describe, expect, test } from "vitest"
import { bf16ToFloat32, float32ToBf16 } from "../../src/formats/float.ts"
import { KEEP_LEVELS, tensorBytes } from "../../src/graph/index.ts"
import { quantizedTensors, quantizeMatrix } from "../../src/models/adapters/quantize.ts"
import { blockGraphs } from "../../src/models/block/block-graphs.ts"
import { layerPlans } from "../../src/models/block/layer-plan.ts"
import { quantizedNames } from "../../src/models/block/packed.ts"
import { CachedDecoder } from "../../src/models/decoding/cached-decoder.ts"
import { loadModel } from "../../src/models/files/index.ts"
import {
  Decoder,
  type DecoderShape,
  decoderName,
  decoderParameters,
  initialLora,
  loraInputs,
  loraParameters,
  loraSpec,
  packSequences,
} from "../../src/models/index.ts"
import { type Device, float32, type HostTensor } from "../../src/runtime/index.ts"
import { ownPanels } from "../../src/runtime/native/own-kernels.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { onnxModel } from "../../src/runtime/onnx/onnx-model.ts"
import { families, golden, HOLDINGS, holdings, MODELS, tinyModel } from "../generate/tiny-models.ts"
import { deviceOrSay } from "../runtime/devices.ts"
import { dftSettings } from "./losses.ts"

const plain = await openDevice({ device: "cpu", threads: 2 })
const rounding = await deviceOrSay("cpu bf16")
afterAll(() => Promise.all([plain.release(), rounding?.release()]))

/** |a - b| beside |b|. */
function apart(a: Float32Array, b: Float32Array): number {
  let [error, size] = [0, 0]
  for (const [i, value] of b.entries()) {
    error += (a[i]! - value) ** 2
    size += value ** 2
  }
  return Math.sqrt(error / (size + 1e-30))
}

function packOf(family: string) {
  const { sequences } = JSON.parse(readFileSync(`${MODELS}${family}/golden.json`, "utf8")) as {
    sequences: { token_ids: number[]; loss_mask: number[] }[]
  }
  return packSequences(
    sequences.map(({ token_ids, loss_mask }) => ({
      tokenIds: Int32Array.from(token_ids),
      lossMask: Uint8Array.from(loss_mask),
    })),
  )
}

/** With weights as checkpoints have them: bfloat16 numbers. */
async function base(family: string): Promise<[DecoderShape, Map<string, HostTensor>]> {
  const { config, weights } = await loadModel(`${MODELS}${family}`)
  const named = decoderParameters(config.shape).map(({ name, shape }) => {
    const stored = float32ToBf16(weights.get(name)!, new Uint16Array(weights.get(name)!.length))
    return [name, float32(shape, bf16ToFloat32(stored, new Float32Array(stored.length)))] as const
  })
  return [config.shape, new Map(named)]
}

/** The base's linear weights as codes. */
function withCodes(weights: ReadonlyMap<string, HostTensor>, bits: 4 | 8) {
  const result = new Map<string, HostTensor>()
  for (const [name, tensor] of weights) {
    const isLinear = name.startsWith("model.layers.") && name.endsWith("_proj.weight")
    if (!isLinear) {
      result.set(name, tensor)
      continue
    }
    const [outFeatures, inFeatures] = tensor.shape as [number, number]
    const matrix = quantizeMatrix(
      tensor.data as Float32Array,
      { outFeatures, inFeatures },
      { bits, groupSize: 32 },
    )
    const tensors = quantizedTensors(matrix)
    const names = quantizedNames(name)
    for (const key of ["codes", "scales", "zeros"] as const) result.set(names[key], tensors[key])
  }
  return result
}

/** Of packs of two sizes, whose graphs keep other values under the same names. */
async function afterAnother(options: Parameters<typeof Decoder.open>[0], before: number[]) {
  const packOfTokens = (count: number) => {
    const tokenIds = Int32Array.from({ length: count }, (_, i) => (7 * i) % 60)
    return packSequences([{ tokenIds, lossMask: new Uint8Array(count).fill(1, 1) }])
  }
  const decoder = await Decoder.open({ ...options, headRows: 16 })
  for (const count of before) await decoder.train(packOfTokens(count), dftSettings)
  await decoder.zeroGradients()
  await decoder.train(packOfTokens(200), dftSettings)
  const gradients = [...decoder.gradients.values()].map(({ data }) =>
    (data as Float32Array).slice(),
  )
  await decoder.release()
  return gradients
}

/** One micro-batch's loss and gradients of the DFT objective. */
async function trained(options: Parameters<typeof Decoder.open>[0], family: string) {
  const decoder = await Decoder.open({ ...options, headRows: 16 })
  const { loss, logp } = await decoder.train(packOf(family), dftSettings)
  const gradients = new Map(
    [...decoder.gradients].map(([name, { data }]) => [name, (data as Float32Array).slice()]),
  )
  const held = [...decoder.weights].filter(([, { data }]) => data === undefined)
  await decoder.release()
  const sum = (x: Float32Array) => x.reduce((total, value) => total + value, 0)
  return { loss: sum(loss!), nll: -sum(logp!), gradients, held: held.map(([name]) => name) }
}

type Trained = Awaited<ReturnType<typeof trained>>

/**
 * These models are small and random: a gradient is a sum of few terms that mostly cancel, and the
 * weights are no bfloat16 numbers.
 */
function expectClose(got: Trained, expected: Trained) {
  expect(Math.abs(got.nll / expected.nll - 1)).toBeLessThan(1e-2)
  expect(Math.abs(got.loss / expected.loss - 1)).toBeLessThan(4e-2)
  expect(got.loss).not.toBe(expected.loss)
  for (const [name, gradient] of expected.gradients) {
    expect(apart(got.gradients.get(name)!, gradient), name).toBeLessThan(0.15)
  }
}

// One of each kind of block. Experts are left out: rounding may send a token to another one.
const blocks = ["llama-bias", "qwen2", "qwen3", "gemma3_text", "olmo2", "phi3"]
const dense = families.filter((name) => blocks.includes(name))

describe.skipIf(!rounding).each(dense)("%s with bfloat16 products", (family) => {
  test("what is kept takes half, the block's input too", async () => {
    const [shape] = await base(family)
    for (const plan of layerPlans(shape, undefined)) {
      const options = { shape, tokens: 16, ...plan }
      const { saved, backward } = blockGraphs(options, "products", { narrows: true })
      const kept = backward.inputs.filter(({ name }) => saved.includes(name))
      // attention's values and its result, of which the backward takes a difference, stay float32
      expect(kept.filter(({ dtype }) => dtype === "f32")).toHaveLength(2)
      const bytes = kept.map((port) => tensorBytes(port)).reduce((sum, each) => sum + each)
      const whole = kept.map((port) => tensorBytes({ ...port, dtype: "f32" }))
      expect(bytes / whole.reduce((sum, each) => sum + each)).toBeLessThan(0.75) // phi3 packs them
      expect(saved).toContain("saved.x")
      expect(backward.inputs.map(({ name }) => name)).not.toContain("x")
    }
  })

  test.each([8, 4] as const)("codes of %s bits are never made whole", async (bits) => {
    const [shape] = await base(family)
    const lora = loraInputs(loraSpec({ loraRank: 4, loraAlpha: 8 }, shape))
    const quantization = { bits, groupSize: 32 }
    for (const plan of layerPlans(shape, lora)) {
      const options = { shape, quantization, tokens: 16, ...plan }
      const { forward, backward } = blockGraphs(options, "recompute")
      for (const graph of [forward, backward]) {
        const model = onnxModel(graph, "cpu", { own: { bf16: ownPanels(), tall: false } })
        const operators = Buffer.from(model).toString("latin1")
        expect(operators).toContain("QuantizedProduct")
        expect(operators).not.toContain("DequantizeLinear")
      }
    }
  })

  test.each(KEEP_LEVELS)(
    "loss and every gradient of full training are near float32's (%s)",
    async (level) => {
      const run = async (device: Device) => {
        const [shape, weights] = await base(family)
        return trained({ device, shape, weights, keep: () => level }, family)
      }
      const fast = await run(rounding!)
      expectClose(fast, await run(plain))
      expect(fast.held).toEqual([])
    },
  )

  test.each([undefined, 8, 4] as const)(
    "an adapter on a frozen base, quantised to %s bits, too, and the base is held packed",
    async (bits) => {
      const quantization = bits && { bits, groupSize: 32 }
      const run = async (device: Device) => {
        const [shape, weights] = await base(family)
        const spec = loraSpec({ loraRank: 4, loraAlpha: 8 }, shape)
        const fresh = initialLora(shape, spec, 1)
        const adapter = loraParameters(shape, spec).map(({ name, shape: dims }) => {
          const data = fresh.get(name)!
          data.forEach((value, i) => {
            data[i] = value + 0.01 * Math.sin(i) // B begins as zeros
          })
          return [decoderName(name), float32(dims, data)] as const
        })
        const frozen = bits ? withCodes(weights, bits) : weights
        const parts = { device, shape, lora: loraInputs(spec), quantization }
        return trained({ ...parts, weights: new Map([...frozen, ...adapter]) }, family)
      }
      const fast = await run(rounding!)
      expectClose(fast, await run(plain))
      const matrices = fast.held.filter((name) => name.endsWith("_proj.weight"))
      expect(matrices.length > 0).toBe(bits === undefined)
      expect(fast.held).toContain("model.embed_tokens.weight")
    },
  )

  test.each(holdings)(
    "decoding is near float32's, and a lane has its own bits (%s)",
    async (way) => {
      const prompts = golden(family).sequences.map(({ token_ids }) =>
        Int32Array.from(token_ids.slice(0, 6)),
      )
      const logits = async (device: Device, lanes: number) => {
        const decoder = new CachedDecoder(await HOLDINGS[way](await tinyModel(device, family)))
        const cache = await decoder.newCache(lanes, 1)
        for (let lane = 0; lane < lanes; lane++) {
          const one = await decoder.newCache(1, 1)
          const hidden = await decoder.prefill(one, prompts[lane % prompts.length]!)
          hidden.dispose()
          await cache.copyFrom(one, lane, { lane: 0, tokens: 6 })
        }
        const ids = Array.from({ length: lanes }, () => 7)
        const hidden = await decoder.decode(
          cache,
          ids,
          ids.map(() => 6),
        )
        const next = await decoder.next(
          hidden,
          ids.map(() => 1),
        )
        const first = next.logits[0]!.slice()
        await decoder.release()
        return first
      }
      const alone = await logits(rounding!, 1)
      expect(apart(alone, await logits(plain, 1))).toBeLessThan(0.04)
      expect(await logits(rounding!, 4)).toEqual(alone)
    },
  )
})

test.skipIf(!rounding)("packs of other sizes before change no bit", async () => {
  const [shape] = await base("qwen2")
  const fresh = async () => ({ device: rounding!, shape, weights: (await base("qwen2"))[1] })
  const alone = await afterAnother(await fresh(), [])
  expect(await afterAnother(await fresh(), [8, 300, 40])).toEqual(alone)
})
