import { readFileSync } from "node:fs"
import { afterAll, describe, expect, test } from "vitest"
import { openSafetensors } from "../../src/formats/index.ts"
import {
  dequantizeMatrix,
  quantizedTensors,
  quantizeMatrix,
} from "../../src/models/adapters/quantize.ts"
import { quantizedNames } from "../../src/models/block/packed.ts"
import { CachedDecoder } from "../../src/models/decoding/cached-decoder.ts"
import type { CachedModel } from "../../src/models/decoding/decoding-stages.ts"
import type { KvCache } from "../../src/models/decoding/kv-cache.ts"
import { Decoder, decoderParameters, modelConfig, packSequences } from "../../src/models/index.ts"
import { randomStream } from "../../src/random.ts"
import { type DeviceTensor, float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { families, golden, HOLDINGS, holdings, MODELS, tinyModel } from "./tiny-models.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

/** Every logit of Transformers' full forward pass over the golden sequences, [T][V]. */
async function fullLogits(family: string, vocabSize: number): Promise<Float32Array[][]> {
  const reader = await openSafetensors(`${MODELS}${family}/golden.safetensors`)
  const all: Float32Array[][] = []
  for (const [i, { token_ids }] of golden(family).sequences.entries()) {
    const flat = await reader.readFloat32(`logits.${i}`)
    all.push(token_ids.map((_, t) => flat.subarray(t * vocabSize, (t + 1) * vocabSize)))
  }
  await reader.close()
  return all
}

function worst(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
}

describe.each(families)("%s", (family) => {
  test.each(holdings)("cached decoding equals the full forward pass (%s)", async (holding) => {
    const model = await tinyModel(device, family)
    const decoder = new CachedDecoder(await HOLDINGS[holding](model))
    const full = await fullLogits(family, model.shape.vocabSize)
    for (const [i, { token_ids }] of golden(family).sequences.entries()) {
      const cache = await decoder.newCache(1, 1)
      const begun = 5
      let hidden = await decoder.prefill(cache, Int32Array.from(token_ids.slice(0, begun)))
      for (let t = begun - 1; t < token_ids.length; t++) {
        const { logits, logSumExp } = await decoder.next(hidden, [0])
        expect(worst(logits[0]!, full[i]![t]!)).toBeLessThan(1e-4)
        const sum = full[i]![t]!.reduce((total, logit) => total + Math.exp(logit), 0)
        expect(logSumExp[0]).toBeCloseTo(Math.log(sum), 5)
        if (t + 1 < token_ids.length) {
          hidden = await decoder.decode(cache, [token_ids[t + 1]!], [t + 1])
        }
      }
      cache.dispose()
    }
    await decoder.release()
  })

  test("a prompt in two pieces, the second on the cache of the first, equals it whole", async () => {
    const model = await tinyModel(device, family)
    const decoder = new CachedDecoder(model)
    const ids = Int32Array.from(golden(family).sequences[0]!.token_ids)
    const last = (await fullLogits(family, model.shape.vocabSize))[0]!.at(-1)!
    const cache = await decoder.newCache(1, 1)
    for (const split of [0, 1, 7, ids.length - 1]) {
      if (split > 0) await decoder.prefill(cache, ids.slice(0, split))
      const { logits } = await decoder.next(
        await decoder.prefill(cache, ids, { start: split }),
        [0],
      )
      expect(worst(logits[0]!, last)).toBeLessThan(1e-4)
    }
    await decoder.release()
  })
})

test.each(holdings)("a lane has the same bits beside any others (%s)", async (holding) => {
  const model = await HOLDINGS[holding](await tinyModel(device, "qwen2"))
  const decoder = new CachedDecoder(model)
  const ids = Array.from({ length: 40 }, (_, i) => (i * 7) % 64)
  const prompt = await decoder.newCache(1, 1)
  await decoder.prefill(prompt, Int32Array.from(ids.slice(0, -1)))
  const logitsIn = async (lanes: number) => {
    const cache = await decoder.newCache(decoder.lanesFor(lanes), 1)
    await cache.copyFrom(prompt, lanes - 1, { lane: 0, tokens: ids.length - 1 })
    const others = Array.from({ length: cache.lanes }, (_, lane) => lane)
    const tokens = others.with(lanes - 1, ids.at(-1)!)
    const places = others.fill(0).with(lanes - 1, ids.length - 1)
    const { logits } = await decoder.next(await decoder.decode(cache, tokens, places), places)
    return logits[lanes - 1]!.slice()
  }
  const alone = await logitsIn(1)
  for (const lanes of [2, 3, 7, 16]) expect(await logitsIn(lanes)).toEqual(alone)
  await decoder.release()
})

test("prompts side by side, shorter ones filled up, have the bits they have alone", async () => {
  const decoder = new CachedDecoder(await HOLDINGS.packed(await tinyModel(device, "qwen2")))
  const prompts = [40, 33, 38, 1, 40].map((length, lane) =>
    Int32Array.from({ length }, (_, i) => (i * 7 + 3 * lane) % 64),
  )
  const cache = await decoder.newCache(prompts.length, 1)
  const continued = async (cache: KvCache, lane: number, tokens: number) => {
    const one = await decoder.newCache(1, 1)
    await one.copyFrom(cache, 0, { lane, tokens })
    return (await decoder.next(await decoder.decode(one, [9], [tokens]), [0])).logits[0]!.slice()
  }
  const { logits } = await decoder.next(
    await decoder.prefillTogether(cache, prompts),
    prompts.map(() => 0),
  )
  const together = logits.map((row) => row.slice())
  for (const [lane, ids] of prompts.entries()) {
    const alone = await decoder.newCache(1, 1)
    const first = await decoder.next(await decoder.prefill(alone, ids), [0])
    expect(together[lane]).toEqual(first.logits[0])
    const next = await continued(cache, lane, ids.length)
    expect(next).toEqual(await continued(alone, 0, ids.length))
  }
  await decoder.release()
})

test.each([
  ["short ones of a like length", [100, 100, 90, 120, 100, 100], 4],
  ["a long one alone", [600, 5], 1],
  ["none that would mostly fill up", [100, 5, 100], 1],
  ["no more than there are lanes", new Array(40).fill(3), 16],
])("prompts go together: %s", async (_, lengths, count) => {
  const model = await tinyModel(device, "qwen2")
  const decoder = new CachedDecoder(await HOLDINGS.packed(model))
  expect(decoder.promptsTogether(lengths)).toBe(count)
  expect(new CachedDecoder(model).promptsTogether(lengths)).toBe(1)
})

test.each(holdings)(
  "lanes that are given up leave the others as they were (%s)",
  async (holding) => {
    const decoder = new CachedDecoder(await HOLDINGS[holding](await tinyModel(device, "llama")))
    const prompts = Array.from({ length: 16 }, (_, lane) => [5 + lane, 9, 30 - lane])
    const cache = await decoder.newCache(16, 1)
    const one = await decoder.newCache(1, 1)
    for (const [lane, ids] of prompts.entries()) {
      await decoder.prefill(one, Int32Array.from(ids))
      await cache.copyFrom(one, lane, { lane: 0, tokens: ids.length })
    }
    const kept = [2, 3, 9, 15]
    const places = prompts.map(() => 3)
    const step = async (ids: readonly number[]) => {
      const hidden = await decoder.decode(cache, ids, places.slice(0, ids.length))
      return (await decoder.next(hidden, places.slice(0, ids.length))).logits.map((row) =>
        row.slice(),
      )
    }
    const all = await step(prompts.map((_, lane) => lane))
    await cache.keepLanes(kept)
    expect(cache.lanes).toBe(4)
    expect(await step(kept)).toEqual(kept.map((lane) => all[lane]))
    await decoder.release()
  },
)

test("temperature divides the logits before the softmax", async () => {
  const decoder = new CachedDecoder(await tinyModel(device, "qwen2"))
  const cache = await decoder.newCache(1, 1)
  const hidden = await decoder.prefill(cache, Int32Array.of(1, 2, 3))
  const { logits, probabilities } = await decoder.next(hidden, [0.5])
  const powers = logits[0]!.map((logit) => Math.exp(logit / 0.5))
  const total = powers.reduce((sum, power) => sum + power, 0)
  expect(
    worst(
      probabilities[0]!,
      powers.map((power) => power / total),
    ),
  ).toBeLessThan(1e-6)
})

test("a cache that grows keeps what it holds", async () => {
  const decoder = new CachedDecoder(await tinyModel(device, "qwen3"))
  const ids = Array.from({ length: 150 }, (_, i) => (i * 7) % 64)
  const cache = await decoder.newCache(1, 1)
  let hidden = await decoder.prefill(cache, Int32Array.from(ids.slice(0, 60)))
  for (let t = 60; t < ids.length; t++) hidden = await decoder.decode(cache, [ids[t]!], [t])
  const grown = (await decoder.next(hidden, [0])).logits[0]!.slice()
  expect(cache.places).toBeGreaterThan(128)
  const whole = await decoder.prefill(await decoder.newCache(1, 1), Int32Array.from(ids))
  expect(worst(grown, (await decoder.next(whole, [0])).logits[0]!)).toBeLessThan(1e-4)
})

test.each([4, 8] as const)("a base of %i-bit codes gives what its weights give", async (bits) => {
  const plain = await tinyModel(device, "qwen3")
  const weights = new Map(plain.weights)
  const coded = new Map(plain.weights)
  for (const [name, tensor] of plain.weights) {
    if (!name.startsWith("model.layers.") || tensor.shape.length !== 2) continue
    const [outFeatures, inFeatures] = tensor.shape as [number, number]
    const sizes = { outFeatures, inFeatures }
    const matrix = quantizeMatrix(tensor.data as Float32Array, sizes, { bits, groupSize: 32 })
    weights.set(name, await device.upload(float32(tensor.shape, dequantizeMatrix(matrix))))
    coded.delete(name)
    const names = quantizedNames(name)
    for (const [part, host] of Object.entries(quantizedTensors(matrix))) {
      coded.set(names[part as keyof typeof names], await device.upload(host))
    }
  }
  const ids = golden("qwen3").sequences[0]!.token_ids
  const last: Float32Array[] = []
  const quantization = { bits, groupSize: 32 }
  for (const model of [
    { ...plain, weights },
    { ...plain, weights: coded, quantization },
  ]) {
    const decoder = new CachedDecoder(model)
    const cache = await decoder.newCache(1, 1)
    let hidden = await decoder.prefill(cache, Int32Array.from(ids.slice(0, 9)))
    for (let t = 9; t < ids.length; t++) hidden = await decoder.decode(cache, [ids[t]!], [t])
    last.push((await decoder.next(hidden, [0])).logits[0]!.slice())
    await decoder.release()
  }
  expect(worst(last[0]!, last[1]!)).toBeLessThan(1e-4)
})

test("under longrope a cache serves sequences of its own length class, and a prompt past it begins anew", async () => {
  const { shape } = modelConfig(
    JSON.parse(readFileSync(`${MODELS}llama-longrope/config.json`, "utf8")),
  )
  const model = { ...(await tinyModel(device, "llama")), shape }
  const decoder = new CachedDecoder(model)
  expect(decoder.room(10)).toBe(16 + 1 - 10)
  expect(decoder.room(17)).toBe(256 - 17)
  const [{ token_ids }] = golden("llama-longrope").sequences as [{ token_ids: number[] }]
  const expected = (await fullLogits("llama-longrope", shape.vocabSize))[0]!.at(-1)!
  const ids = Int32Array.from(token_ids)
  const cache = await decoder.newCache(1, 1)
  await decoder.prefill(cache, ids.slice(0, 10))
  const { logits } = await decoder.next(await decoder.prefill(cache, ids, { start: 10 }), [0])
  expect(worst(logits[0]!, expected)).toBeLessThan(1e-4)
  await decoder.release()
})

/** A model of random weights, whose heads have any even size. */
async function madeUp(family: string, headDim: number): Promise<CachedModel> {
  const json = JSON.parse(readFileSync(`${MODELS}${family}/config.json`, "utf8"))
  const { shape } = modelConfig({ ...json, head_dim: headDim })
  const random = randomStream(headDim, family)
  const weights = new Map<string, DeviceTensor>()
  for (const { name, shape: dims } of decoderParameters(shape)) {
    const size = dims.reduce((product, dim) => product * dim, 1)
    const values = Float32Array.from({ length: size }, () => (random() - 0.5) / 2)
    weights.set(name, await device.upload(float32(dims, values)))
  }
  return { device, shape, weights }
}

describe.each([
  ["llama", 12],
  ["qwen3", 6],
  ["gemma2", 10],
] as const)("%s with heads of %d", (family, headDim) => {
  test.each(holdings)("decodes as it computes whole rows (%s)", async (holding) => {
    const model = await madeUp(family, headDim)
    const ids = Int32Array.from({ length: 20 }, (_, i) => (i * 7 + 3) % 48)
    const whole = await Decoder.open(model, { trained: false })
    const pack = packSequences([{ tokenIds: ids, lossMask: new Uint8Array(20).fill(1) }])
    const full: Float32Array[] = []
    const { vocabSize: V } = model.shape
    await whole.eachLogits(pack, (logits) => {
      for (let at = 0; at < logits.length; at += V) full.push(logits.slice(at, at + V))
    })
    const decoder = new CachedDecoder(await HOLDINGS[holding](model))
    const prompt = await decoder.newCache(1, 1)
    await decoder.prefill(prompt, ids.slice(0, 5))
    const cache = await decoder.newCache(decoder.lanesFor(2), 1)
    const lanes = Array.from({ length: cache.lanes }, (_, lane) => lane)
    for (const lane of lanes) await cache.copyFrom(prompt, lane, { lane: 0, tokens: 5 })
    for (let t = 5; t < 19; t++) {
      const tokens = lanes.map(() => ids[t]!)
      const places = lanes.map(() => t)
      const hidden = await decoder.decode(cache, tokens, places)
      const { logits } = await decoder.next(hidden, [0, 1])
      for (const lane of logits) expect(worst(lane, full[t]!)).toBeLessThan(1e-4)
    }
  })
})
