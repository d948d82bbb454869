import { readFileSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { openCheckpoint, openSafetensors } from "../../src/formats/index.ts"
import {
  loadModel,
  readAdapter,
  readModelConfig,
  saveAdapter,
} from "../../src/models/files/index.ts"
import {
  adapterParameters,
  Decoder,
  decoderName,
  decoderParameters,
  heldName,
  initialLora,
  linearModules,
  loraInputs,
  loraParameters,
  loraScale,
  loraSpec,
  mergeAdapter,
  packSequences,
  targetModules,
} from "../../src/models/index.ts"
import { float32 } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { adapters, MODELS } from "./golden-models.ts"
import { dftSettings, sftSettings } from "./losses.ts"

const familyOf = (adapter: string) => adapter.split("/")[0]!
const { shape: QWEN3 } = await readModelConfig(`${MODELS}qwen3`)

const device = await openDevice({ device: "cpu", threads: 1 })
let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "dftune-lora-"))
})
afterAll(async () => {
  await device.release()
  await rm(scratch, { recursive: true })
})

test("targets are named as PEFT matches them, and come in the checkpoint's order", () => {
  const targets = (names: "all-linear" | string[]) =>
    targetModules(loraSpec({ loraRank: 4, loraAlpha: 8, targetModules: names }, QWEN3))
  expect(targets("all-linear")).toEqual([...linearModules(QWEN3).keys()])
  expect(targets(["v_proj", "q_proj"])).toEqual(["self_attn.q_proj", "self_attn.v_proj"])
  expect(targets(["mlp.up_proj", "up_proj"])).toEqual(["mlp.up_proj"])
})

const refused: readonly [string, Parameters<typeof loraSpec>[0], RegExp][] = [
  ["the head", { loraRank: 4, loraAlpha: 8, targetModules: ["lm_head"] }, /q_proj.*"lm_head"/],
  ["half a name", { loraRank: 4, loraAlpha: 8, targetModules: ["proj"] }, /"proj"/],
  ["no module", { loraRank: 4, loraAlpha: 8, targetModules: [] }, /empty/],
  ["rank 0", { loraRank: 0, loraAlpha: 8 }, /"r".*0/],
  ["half a rank", { loraRank: 1.5, loraAlpha: 8 }, /"r".*1.5/],
  ["alpha 0", { loraRank: 4, loraAlpha: 0 }, /lora_alpha/],
  ["dropout of everything", { loraRank: 4, loraAlpha: 8, loraDropout: 1 }, /lora_dropout.*1/],
]
test.each(refused)("%s is refused", (_name, options, message) => {
  expect(() => loraSpec(options, QWEN3)).toThrow(message)
  expect(() => loraSpec(options, QWEN3)).toThrow(InputError)
})

test("the scale is alpha / r, and alpha / sqrt(r) under rsLoRA", () => {
  const scaleOf = (useRslora: boolean) =>
    loraScale({ rank: 16, alpha: 8 }, loraSpec({ loraRank: 16, loraAlpha: 8, useRslora }, QWEN3))
  expect(scaleOf(false)).toBe(0.5)
  expect(scaleOf(true)).toBe(2)
})

test("a new adapter is PEFT's: A uniform within 1/sqrt(in), B zero, the same for the same seed", async () => {
  const { config } = await loadModel(`${MODELS}qwen3`)
  const spec = loraSpec({ loraRank: 16, loraAlpha: 8 }, config.shape)
  const adapter = initialLora(config.shape, spec, 7)
  for (const { name, shape } of loraParameters(config.shape, spec)) {
    const values = adapter.get(name)!
    if (name.includes("lora_B")) {
      expect(values.every((value) => value === 0)).toBe(true)
      continue
    }
    const bound = 1 / Math.sqrt(shape[1]!)
    expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(Math.fround(bound))
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length
    expect(variance / (bound ** 2 / 3)).toBeGreaterThan(0.75)
    expect(variance / (bound ** 2 / 3)).toBeLessThan(1.25)
  }
  expect(initialLora(config.shape, spec, 7)).toEqual(adapter)
  expect(initialLora(config.shape, spec, 8)).not.toEqual(adapter)
  const upAlone = loraSpec(
    { loraRank: 16, loraAlpha: 8, targetModules: ["mlp.up_proj"] },
    config.shape,
  )
  const alone = initialLora(config.shape, upAlone, 7)
  for (const [name, values] of alone) expect(values).toEqual(adapter.get(name))
})

interface Golden {
  readonly sequences: readonly { readonly token_ids: number[]; readonly loss_mask: number[] }[]
}

describe.each(adapters)("%s", (adapter) => {
  const family = familyOf(adapter)
  const golden = JSON.parse(readFileSync(`${MODELS}${family}/golden.json`, "utf8")) as Golden
  const pack = packSequences(
    golden.sequences.map(({ token_ids, loss_mask }) => ({
      tokenIds: Int32Array.from(token_ids),
      lossMask: Uint8Array.from(loss_mask),
    })),
  )

  test.each([
    ["sft", sftSettings],
    ["dft", dftSettings],
  ] as const)(
    "%s: each token's loss and each gradient of A and B are PEFT's",
    async (name, settings) => {
      const { config, weights } = await loadModel(`${MODELS}${family}`)
      const { spec, tensors } = await readAdapter(MODELS + adapter, config.shape)
      const own = (name: string) => heldName(decoderName(name), config.shape)
      const decoder = await Decoder.open({
        device,
        shape: config.shape,
        weights: new Map([
          ...decoderParameters(config.shape).map(
            ({ name, shape }) => [name, float32(shape, weights.get(name)!)] as const,
          ),
          ...adapterParameters(config.shape, spec).map(
            ({ name, shape }) => [own(name), float32(shape, tensors.get(name)!)] as const,
          ),
        ]),
        lora: loraInputs(spec),
      })
      const { loss } = await decoder.train(pack, settings)
      const reader = await openSafetensors(`${MODELS}${adapter}/golden.safetensors`)
      const nll = await reader.readFloat32("nll")
      nll.forEach((c, i) => {
        const expected = name === "sft" ? c : Math.exp(-c) * c
        expect(Math.abs(loss![i]! - expected)).toBeLessThan(3e-5 * (1 + c))
      })
      const parameters = adapterParameters(config.shape, spec).map(({ name }) => name)
      const trained = new Map(parameters.reverse().map((name) => [own(name), name] as const))
      expect(decoder.gradients.size).toBe(trained.size)
      for (const parameter of trained.values()) {
        const expected = await reader.readFloat32(`${name}.grad.${parameter}`)
        const got = decoder.gradients.get(own(parameter))!.data as Float32Array
        let error = 0
        let size = 0
        expected.forEach((value, i) => {
          error += (got[i]! / nll.length - value) ** 2
          size += value ** 2
        })
        expect(Math.sqrt(error / size), parameter).toBeLessThan(5e-5)
      }
      await reader.close()
      await decoder.release()
    },
  )

  test("what it is merged into is what PEFT merges into", async () => {
    const { config, weights } = await loadModel(`${MODELS}${family}`)
    const read = await readAdapter(MODELS + adapter, config.shape)
    mergeAdapter(weights, read.tensors, read)
    const merged = await openCheckpoint(MODELS + adapter, { prefix: "merged" })
    expect(merged.tensors.size).toBe(2)
    for (const name of merged.tensors.keys()) {
      const expected = await merged.readFloat32(name)
      const got = weights.get(name)!
      expected.forEach((value, i) => {
        expect(Math.abs(got[i]! - value)).toBeLessThan(1e-6)
      })
    }
    await merged.close()
  })

  test("written and read again it is the same", async () => {
    const { config } = await loadModel(`${MODELS}${family}`)
    const read = await readAdapter(MODELS + adapter, config.shape)
    const folder = await mkdtemp(join(scratch, "adapter-"))
    const sources = adapterParameters(config.shape, read.spec).map(({ name, shape }) => ({
      name,
      shape,
      read: async () => read.tensors.get(name)!,
    }))
    await saveAdapter(folder, { spec: read.spec, baseModel: "some/base", tensors: sources })
    const again = await readAdapter(folder, config.shape)
    // modules of the layers that train whole are excluded by name, so that PEFT gives them no
    // update
    const { excludeModules } = again.spec.options
    const options = { ...read.spec.options, excludeModules }
    expect(again).toEqual({ ...read, spec: { ...read.spec, options }, baseModel: "some/base" })
  })
})

test("an adapter of another base is refused by tensor, expected and got", async () => {
  const { config } = await loadModel(`${MODELS}qwen3`)
  await expect(readAdapter(`${MODELS}qwen2/adapter`, config.shape)).rejects.toThrow(
    /lora_A\.weight.*expected shape \[4, 24\], got \[4, 32\]/,
  )
})
