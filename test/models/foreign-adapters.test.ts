import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { openCheckpoint, type TensorToWrite, writeSafetensors } from "../../src/formats/index.ts"
import { modelFolders } from "../../src/generate/index.ts"
import { readAdapter, readModelConfig, saveAdapter } from "../../src/models/files/index.ts"
import { loraInputs, loraParameters, loraSpec, mergeAdapter } from "../../src/models/index.ts"
import { MODELS } from "./golden-models.ts"

const ADAPTER = `${MODELS}qwen2/adapter`
const { shape } = await readModelConfig(`${MODELS}qwen2`)

let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "dftune-adapters-"))
})
afterAll(() => rm(scratch, { recursive: true }))

type Tensors = Map<string, TensorToWrite>

/** PEFT's golden adapter with keys of its config and tensors changed. */
async function adapter(
  keys: Readonly<Record<string, unknown>>,
  change: (tensors: Tensors) => void = () => {},
): Promise<string> {
  const folder = await mkdtemp(join(scratch, "adapter-"))
  const config = JSON.parse(await readFile(`${ADAPTER}/adapter_config.json`, "utf8"))
  await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ ...config, ...keys }))
  const reader = await openCheckpoint(ADAPTER, { prefix: "adapter_model" })
  const tensors: Tensors = new Map()
  for (const [name, { dtype, shape }] of reader.tensors) {
    tensors.set(name, { name, dtype, shape, data: await reader.read(name) })
  }
  await reader.close()
  change(tensors)
  await writeSafetensors(join(folder, "adapter_model.safetensors"), [...tensors.values()])
  return folder
}

/** Magnitudes that the config does not speak of. */
const magnitudes = (tensors: Tensors) => {
  const name = "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"
  tensors.set(name, { name, dtype: "F32", shape: [24], data: new Uint8Array(96) })
}

const dropped = (pattern: RegExp) => (tensors: Tensors) => {
  for (const name of [...tensors.keys()]) if (pattern.test(name)) tensors.delete(name)
}

describe("starts that change the base, and whatever else is not low-rank updates, are refused", () => {
  const refused: readonly [string, Readonly<Record<string, unknown>>, RegExp][] = [
    ...["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "something new"]
      .map(
        (start) =>
          [start, { init_lora_weights: start }, /init_lora_weights.*path_initial_model/] as const,
      )
      .map(([a, b, c]): [string, Readonly<Record<string, unknown>>, RegExp] => [a, b, c]),
    ["activated LoRA", { alora_invocation_tokens: [5, 6] }, /alora_invocation_tokens.*only from/],
    ["DoRA without its magnitudes", { use_dora: true }, /14 of 42.*lora_magnitude_vector/],
    ["trained biases", { bias: "all" }, /"bias": "all".*merge_and_unload/],
    ["biases of its own", { lora_bias: true }, /lora_bias/],
    [
      "whole modules that are not there",
      { modules_to_save: ["lm_head"] },
      /modules_to_save.*embed_tokens/,
    ],
    ["whole modules of another model", { modules_to_save: ["score"] }, /modules_to_save.*"score"/],
    ["trained tokens", { trainable_token_indices: [1] }, /trainable_token_indices/],
    ["layers twice", { layer_replication: [[0, 2]] }, /layer_replication/],
    ["parameters", { target_parameters: ["gate_up_proj"] }, /target_parameters/],
    ["a key of a later PEFT", { use_qrazy_lora: true }, /"use_qrazy_lora": true.*does not know/],
    ["another with an object", { kasa_config: { beta: 1 } }, /kasa_config/],
  ]
  test("magnitudes of DoRA where the config does not say that it is one", async () => {
    const folder = await adapter({}, magnitudes)
    await expect(readAdapter(folder, shape)).rejects.toThrow(/use_dora.*lora_magnitude_vector/)
  })

  test.each(refused)("%s", async (_name, keys, message) => {
    const folder = await adapter(keys)
    await expect(readAdapter(folder, shape)).rejects.toThrow(message)
    await expect(readAdapter(folder, shape)).rejects.toThrow(InputError)
  })
})

test.each<[string, Readonly<Record<string, unknown>>]>([
  ["plain starts", { init_lora_weights: "gaussian" }],
  ["an orthogonal start", { init_lora_weights: "orthogonal" }],
  ["keys of a later PEFT that are off", { use_new: false, new_config: null, new_list: [], n: {} }],
  ["fan_in_fan_out, which PEFT turns off itself", { fan_in_fan_out: true }],
  ["no list of targets", { target_modules: null }],
  ["a regular expression", { target_modules: "model\\.layers\\.\\d+\\.(self_attn|mlp)\\..*_proj" }],
  ["layers with nothing around", { layers_to_transform: [0, 1], layers_pattern: "layers" }],
  ["an exclusion that excludes nothing", { exclude_modules: ["lm_head"] }],
])("%s: the same adapter", async (_name, keys) => {
  const read = await readAdapter(await adapter(keys), shape)
  expect(read.tensors).toEqual((await readAdapter(ADAPTER, shape)).tensors)
})

describe("which modules have an adapter is read from the tensors", () => {
  test("modules that were excluded, and layers that were left out", async () => {
    const missing = /layers\.0\.self_attn\.k_proj|layers\.1\.mlp/
    const folder = await adapter({ exclude_modules: "whatever" }, dropped(missing))
    const { spec, tensors } = await readAdapter(folder, shape)
    expect(spec.layers[0]!.has("self_attn.k_proj")).toBe(false)
    expect(spec.layers[0]!.has("mlp.up_proj")).toBe(true)
    expect([...spec.layers[1]!.keys()]).toEqual(
      ["q", "k", "v", "o"].map((name) => `self_attn.${name}_proj`),
    )
    expect([...tensors.keys()].some((name) => missing.test(name))).toBe(false)
  })

  test("ranks and alphas of their own, by PEFT's patterns", async () => {
    const folder = await adapter(
      {
        rank_pattern: { q_proj: 2, "layers.1.mlp.down_proj": 1 },
        alpha_pattern: { "layers.1.self_attn.v_proj": 64 },
      },
      (tensors) => {
        for (const [name, tensor] of tensors) {
          const rank = /q_proj/.test(name) ? 2 : /layers\.1\.mlp\.down_proj/.test(name) ? 1 : 4
          if (rank === 4) continue
          const [rows, columns] = tensor.shape as [number, number]
          const isA = name.includes("lora_A")
          const shape = isA ? [rank, columns] : [rows, rank]
          const data = new Uint8Array(4 * shape[0]! * shape[1]!)
          tensors.set(name, { ...tensor, shape, data })
        }
      },
    )
    const { spec } = await readAdapter(folder, shape)
    expect(spec.layers[1]!.get("self_attn.q_proj")).toEqual({ rank: 2, alpha: 8 })
    expect(spec.layers[0]!.get("mlp.down_proj")).toEqual({ rank: 4, alpha: 8 })
    expect(spec.layers[1]!.get("mlp.down_proj")).toEqual({ rank: 1, alpha: 8 })
    expect(loraInputs(spec).layers[1]!.get("self_attn.v_proj")).toEqual({ rank: 4, scale: 16 })
    expect(loraInputs(spec).layers[0]!.get("self_attn.v_proj")).toEqual({ rank: 4, scale: 2 })

    const again = await mkdtemp(join(scratch, "again-"))
    const read = await readAdapter(folder, shape)
    await saveAdapter(again, {
      spec,
      baseModel: null,
      tensors: loraParameters(shape, spec).map(({ name, shape }) => ({
        name,
        shape,
        read: async () => read.tensors.get(name)!,
      })),
    })
    expect(await readAdapter(again, shape)).toEqual({ ...read, baseModel: null })
  })

  test("a rank that the tensors do not have is named", async () => {
    const folder = await adapter({ rank_pattern: { q_proj: 2 } })
    await expect(readAdapter(folder, shape)).rejects.toThrow(/q_proj.*expected shape \[2, 32\]/)
  })

  test("tensors that target_modules does not name", async () => {
    const folder = await adapter({ target_modules: ["q_proj"] })
    await expect(readAdapter(folder, shape)).rejects.toThrow(
      /"target_modules" does not name model\.layers\.0/,
    )
  })

  test("an A without its B", async () => {
    const folder = await adapter({}, dropped(/layers\.1\.self_attn\.o_proj\.lora_B/))
    await expect(readAdapter(folder, shape)).rejects.toThrow(/missing.*o_proj\.lora_B/)
  })

  test("no tensors at all", async () => {
    await expect(readAdapter(await adapter({}, dropped(/./)), shape)).rejects.toThrow(
      /no adapter tensors/,
    )
  })
})

const renamed = (rename: (name: string) => string) => (tensors: Tensors) => {
  for (const [name, tensor] of [...tensors]) {
    tensors.delete(name)
    tensors.set(rename(name), { ...tensor, name: rename(name) })
  }
}
const extra = (name: string) => (tensors: Tensors) =>
  tensors.set(name, { name, dtype: "F32", shape: [1], data: new Uint8Array(4) })

test.each<[string, (tensors: Tensors) => void, RegExp]>([
  [
    "names of torch.save",
    renamed((name) => name.replace(".weight", ".default.weight")),
    /".default.".*save_pretrained/,
  ],
  [
    "names without PEFT's prefix",
    renamed((name) => name.replace("base_model.model.", "")),
    /begin with "base_model\.model\."/,
  ],
  [
    "a norm saved beside it that the config does not name",
    extra("base_model.model.model.norm.weight"),
    /model\.norm.*merge_and_unload/,
  ],
  [
    "a head of another vocabulary",
    extra("base_model.model.lm_head.weight"),
    /1 rows of the embedding, the base has 64.*another base/,
  ],
  [
    "a layer that the base does not have",
    extra("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"),
    /layers\.7.*another base/,
  ],
  [
    "a module that is no linear layer",
    extra("base_model.model.model.layers.0.input_layernorm.lora_A.weight"),
    /input_layernorm.*no linear layer/,
  ],
])("%s: what to do is said", async (_name, change, message) => {
  const read = readAdapter(await adapter({}, change), shape)
  await expect(read).rejects.toThrow(message)
  await expect(readAdapter(await adapter({}, change), shape)).rejects.not.toThrow(
    /config\.json may/,
  )
})

describe("the base that an adapter names", () => {
  test("a relative path is looked for beside the adapter", async () => {
    const folder = await adapter({ base_model_name_or_path: "../base" })
    await cp(`${MODELS}qwen2`, join(scratch, "base"), { recursive: true })
    expect((await modelFolders(folder)).base).toBe(join(scratch, "base"))
  })

  test("none, or one that is not there: --base is named, and takes its place", async () => {
    const none = await adapter({ base_model_name_or_path: null })
    await expect(modelFolders(none)).rejects.toThrow(/names no base model; --base names it/)
    const gone = await adapter({ base_model_name_or_path: "/nowhere/at/all" })
    await expect(modelFolders(gone)).rejects.toThrow(/base_model_name_or_path.*nowhere.*--base/)
    const base = `${MODELS}qwen2`
    expect((await modelFolders(gone, { base })).base).toBe(base)
    await expect(modelFolders(base, { base })).rejects.toThrow(/--base is for adapters/)
  })

  test("an adapter where a whole model is expected", async () => {
    await expect(readModelConfig(ADAPTER)).rejects.toThrow(/is an adapter.*export --to merged/)
    await expect(modelFolders(ADAPTER, { base: ADAPTER })).rejects.toThrow(/got an adapter of one/)
  })
})

test("a new adapter by pattern: targets, exclusions, layers, ranks", () => {
  const spec = loraSpec(
    {
      loraRank: 8,
      loraAlpha: 16,
      targetModules: ".*(q|v|down)_proj",
      excludeModules: ["layers.0.self_attn.v_proj"],
      rankPattern: { down_proj: 2 },
      alphaPattern: { "layers\\.1\\..*": 4 },
    },
    shape,
  )
  const sizes = spec.layers.map((modules) => Object.fromEntries(modules))
  expect(sizes).toEqual([
    { "self_attn.q_proj": { rank: 8, alpha: 16 }, "mlp.down_proj": { rank: 2, alpha: 16 } },
    {
      "self_attn.q_proj": { rank: 8, alpha: 4 },
      "self_attn.v_proj": { rank: 8, alpha: 4 },
      "mlp.down_proj": { rank: 2, alpha: 4 },
    },
  ])
  const named = { loraRank: 8, loraAlpha: 16, targetModules: ["q_proj"] }
  expect(() => loraSpec({ ...named, excludeModules: ["q_proj"] }, shape)).toThrow(/leave no module/)
  expect(() => loraSpec({ ...named, layersToTransform: [9] }, shape)).toThrow(/leave no module/)
  expect(() => loraSpec({ ...named, targetModules: "(q_proj" }, shape)).toThrow(/no regular/)
  expect(() => loraSpec({ ...named, targetModules: "q_proj" }, shape)).toThrow(
    /whole paths.*q_proj/,
  )
})

test("what patterns make is merged by each module's own scale", async () => {
  const folder = await adapter({ alpha_pattern: { v_proj: 0.001 } })
  const { spec, tensors } = await readAdapter(folder, shape)
  const weights = new Map(
    spec.layers.flatMap((modules, layer) =>
      [...modules.keys()].map((module) => {
        const b = tensors.get(`base_model.model.model.layers.${layer}.${module}.lora_B.weight`)!
        const a = tensors.get(`base_model.model.model.layers.${layer}.${module}.lora_A.weight`)!
        const size = (b.length / 4) * (a.length / 4)
        return [`model.layers.${layer}.${module}.weight`, new Float32Array(size)] as const
      }),
    ),
  )
  mergeAdapter(weights, tensors, { spec, shape })
  const largest = (name: string) =>
    Math.max(...weights.get(`model.layers.0.self_attn.${name}.weight`)!.map(Math.abs))
  expect(largest("v_proj") / largest("q_proj")).toBeLessThan(0.01)
})

test.each([
  ["target_modules", "(?:.|.|.)+!!"],
  ["rank_pattern", { "(?:.|[a-z]|.)+!!": 4 }],
])(
  "an expression of %s that goes back and forth for ever is refused in words",
  async (key, value) => {
    await expect(readAdapter(await adapter({ [key]: value }), shape)).rejects.toThrow(
      /adapter_config\.json: the expression .* takes for ever on short texts/,
    )
  },
)
