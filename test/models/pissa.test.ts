import { readFileSync } from "node:fs"
import { afterAll, expect, test } from "vitest"
import { openSafetensors } from "../../src/formats/index.ts"
import { loadModel } from "../../src/models/files/index.ts"
import {
  adapterParameters,
  baseBeside,
  Decoder,
  decoderName,
  decoderParameters,
  initialLora,
  loraInputs,
  loraSpec,
  mergeAdapter,
  mergeLora,
  packSequences,
  principalStart,
  startSubtracted,
  subtractedTensors,
} from "../../src/models/index.ts"
import { float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { Policy } from "../../src/train/policy.ts"
import { MODELS } from "./golden-models.ts"
import { sftSettings } from "./losses.ts"

/** What PEFT did (golden/pissa.py). */
const FOLDER = `${MODELS}qwen2/pissa`
const golden = JSON.parse(readFileSync(`${FOLDER}/golden.json`, "utf8"))
const tensors = await openSafetensors(`${FOLDER}/golden.safetensors`)
const device = await openDevice({ device: "cpu", threads: 1 })
afterAll(async () => {
  await device.release()
  await tensors.close()
})

const { config, weights } = await loadModel(`${MODELS}qwen2`)
const { shape } = config
const spec = loraSpec(
  {
    ...{ loraRank: golden.options.r, loraAlpha: golden.options.lora_alpha, useRslora: true },
    targetModules: golden.options.target_modules,
  },
  shape,
)
const adapted = { shape, spec }
const read = async (name: string) => weights.get(name)!.slice()
const start = await principalStart(adapted, { device, read, seed: 0 })
const modules = [...tensors.tensors.keys()]
  .filter((name) => name.startsWith("update."))
  .map((name) => name.slice("update.".length))

const apart = (a: Float32Array, b: Float32Array): number =>
  a.reduce((most, x, i) => Math.max(most, Math.abs(x - b[i]!)), 0)

test("the start is the largest singular values of each matrix, and the base what is left, as PEFT has them", async () => {
  const take = baseBeside(adapted, start)
  const { layers } = loraInputs(spec)
  expect(modules).toHaveLength(8)
  for (const module of modules) {
    const weight = await read(`${module}.weight`)
    const update = new Float32Array(weight.length)
    const [, layer, own] = /^model\.layers\.(\d+)\.(.+)$/.exec(module)!
    const [a, b] = ["A", "B"].map((factor) => start.get(`${module}.lora_${factor}.weight`)!)
    mergeLora(update, { a: a!, b: b! }, layers[Number(layer)]!.get(own!)!)
    expect(apart(update, await tensors.readFloat32(`update.${module}`)), module).toBeLessThan(1e-5)
    take(`${module}.weight`, weight)
    expect(apart(weight, await tensors.readFloat32(`base.${module}`)), module).toBeLessThan(1e-5)
  }
})

test("its steps are PEFT's, and so is the adapter over the whole base that it is saved as", async () => {
  const take = baseBeside(adapted, start)
  const own = decoderParameters(shape).map(({ name, shape: dims }) => {
    const values = weights.get(name)!.slice()
    take(name, values)
    return [name, float32(dims, values)] as const
  })
  const factors = adapterParameters(shape, spec).map(({ name, shape: dims }) => {
    const key = decoderName(name)
    return [key, float32(dims, start.get(key)!.slice())] as const
  })
  const decoder = await Decoder.open({
    ...{ device, shape, lora: loraInputs(spec) },
    weights: new Map([...own, ...factors]),
  })
  const settings = { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0 }
  const policy = await Policy.open(decoder, settings)
  const pack = packSequences(
    (golden.sequences as { token_ids: number[]; loss_mask: number[] }[]).map((one) => ({
      tokenIds: Int32Array.from(one.token_ids),
      lossMask: Uint8Array.from(one.loss_mask),
    })),
  )
  const count = pack.labels.length
  for (const [i, { loss, gradient_norms: norms }] of golden.steps.entries()) {
    await decoder.zeroGradients()
    const { loss: each } = await decoder.train(pack, sftSettings)
    const mean = each!.reduce((sum, x) => sum + x, 0) / count
    expect(Math.abs(mean - loss) / loss, `step ${i + 1}`).toBeLessThan(1e-4)
    for (const [name, norm] of Object.entries(norms as Record<string, number>)) {
      const gradient = decoder.gradients.get(decoderName(name))!.data as Float32Array
      const length = Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0)) / count
      expect(Math.abs(length - norm) / norm, `${name} in step ${i + 1}`).toBeLessThan(1e-3)
    }
    const step = { step: i + 1, learningRate: golden.learning_rate, gradientScale: 1 / count }
    await policy.update(step)
  }

  const whole = startSubtracted(spec)
  expect(whole.loraRank).toBe(golden.written.r)
  expect(whole.loraAlpha).toBeCloseTo(golden.written.lora_alpha, 12)
  const held = adapterParameters(shape, spec).map(({ name, shape: dims }) => ({
    ...{ name, shape: dims },
    read: async () => decoder.weights.get(decoderName(name))!.data as Float32Array,
  }))
  const saved = new Map<string, Float32Array>()
  const expected = new Map(adapterParameters(shape, whole).map(({ name, shape }) => [name, shape]))
  for (const tensor of subtractedTensors(held, adapted, start)) {
    expect(tensor.shape, tensor.name).toEqual(expected.get(tensor.name))
    saved.set(tensor.name, await tensor.read())
  }
  const merged = new Map([...weights].map(([name, values]) => [name, values.slice()]))
  mergeAdapter(merged, saved, { spec: whole, shape })
  for (const module of modules) {
    const theirs = await tensors.readFloat32(`merged.${module}`)
    expect(apart(merged.get(`${module}.weight`)!, theirs), module).toBeLessThan(1e-3)
  }
  await policy.release()
})

test("a rank above what a matrix has is refused by name", async () => {
  const large = loraSpec({ loraRank: 64, loraAlpha: 8, targetModules: ["q_proj"] }, shape)
  const found = principalStart({ shape, spec: large }, { device, read, seed: 0 })
  await expect(found).rejects.toThrow(/r is 64, and model\.layers\.0.*singular values; lower r/)
})

test("another seed begins elsewhere and finds the same", async () => {
  const other = await principalStart(adapted, { device, read, seed: 5 })
  const { layers } = loraInputs(spec)
  for (const module of modules.slice(0, 2)) {
    const [, layer, own] = /^model\.layers\.(\d+)\.(.+)$/.exec(module)!
    const update = new Float32Array(weights.get(`${module}.weight`)!.length)
    const [a, b] = ["A", "B"].map((factor) => other.get(`${module}.lora_${factor}.weight`)!)
    mergeLora(update, { a: a!, b: b! }, layers[Number(layer)]!.get(own!)!)
    expect(apart(update, await tensors.readFloat32(`update.${module}`)), module).toBeLessThan(1e-5)
  }
  expect(initialLora(shape, spec, 0).size).toBe(start.size)
})
