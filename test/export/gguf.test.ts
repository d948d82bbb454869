import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { type ExportOptions, exportModel } from "../../src/export/index.ts"
import { type GgufReader, type GgufType, openGguf } from "../../src/formats/index.ts"
import { inverseFrequencies } from "../../src/models/families/rope.ts"
import {
  ggufModel,
  ggufName,
  interleavedHeads,
  loadModel,
  readAdapter,
} from "../../src/models/files/index.ts"
import { FAMILIES, modelConfig } from "../../src/models/index.ts"
import { adapted, families } from "../models/golden-models.ts"
import { exportable, ggufOf } from "./golden-gguf.ts"
import { goldenAdapter, goldenModel, newFolder } from "./models.ts"

async function exported<T>(
  model: string,
  options: Partial<ExportOptions>,
  use: (file: GgufReader) => Promise<T>,
): Promise<T> {
  const out = join(newFolder(), "out")
  const { files } = await exportModel(model, { to: "gguf", out, ...options })
  const file = await openGguf(join(out, files[0]!.file))
  try {
    return await use(file)
  } finally {
    await file.close()
  }
}
const plain = ({ metadata }: GgufReader) =>
  Object.fromEntries([...metadata].map(([key, { value }]) => [key, value]))

test("rows of a head are interleaved: halves become neighbours", () => {
  const rows = Float32Array.from({ length: 8 * 2 }, (_, i) => Math.floor(i / 2)) // [2 heads x 4, 2]
  expect([...interleavedHeads(rows, 8, 4)]).toEqual(
    [0, 2, 1, 3, 4, 6, 5, 7].flatMap((row) => [row, row]),
  )
  expect([...interleavedHeads(Float32Array.of(0, 1, 2, 3), 4, 4)]).toEqual([0, 2, 1, 3])
})

test("every tensor of a decoder has a name in llama.cpp", () => {
  const named = (name: string) => ggufName(name, FAMILIES.llama.gguf!)
  expect(named("model.embed_tokens.weight")).toBe("token_embd.weight")
  expect(named("lm_head.weight")).toBe("output.weight")
  expect(named("model.layers.11.self_attn.q_proj.bias")).toBe("blk.11.attn_q.bias")
  expect(() => named("model.layers.0.mlp.experts.weight")).toThrow(/no name for/)
})

test.each(exportable.filter((name) => families.includes(name)))(
  "%s: metadata, shapes and values",
  async (name) => {
    const model = goldenModel(name)
    const { config, weights } = await loadModel(model)
    const { shape } = config
    const gguf = ggufOf(name)!
    const { architecture, turnsNeighbours } = gguf
    await exported(model, {}, async (file) => {
      expect(plain(file)).toMatchObject({
        "general.architecture": architecture,
        "general.name": name,
        "general.file_type": 0,
        [`${architecture}.block_count`]: shape.numHiddenLayers,
        [`${architecture}.context_length`]: shape.maxPositionEmbeddings,
        [`${architecture}.attention.head_count`]: shape.numAttentionHeads,
        [`${architecture}.attention.head_count_kv`]: shape.numKeyValueHeads,
        [`${architecture}.attention.key_length`]: shape.headDim,
        [`${architecture}.attention.layer_norm_rms_epsilon`]: Math.fround(shape.rmsNormEps),
        [`${architecture}.rope.freq_base`]: Math.fround(shape.layers[0]!.rope!.ropeTheta),
      })
      expect(file.tensors.size).toBe(weights.size)
      for (const [name, values] of weights) {
        const heads = turnsNeighbours && /[qk]_proj/.test(name)
        const rows = name.includes("q_proj") ? shape.numAttentionHeads : shape.numKeyValueHeads
        const meant = heads ? interleavedHeads(values, rows * shape.headDim, shape.headDim) : values
        expect(await file.readFloat32(ggufName(name, gguf)), name).toEqual(meant)
      }
      expect(file.tensors.has("output.weight")).toBe(!shape.tieWordEmbeddings)
    })
  },
)

test("llama3 scaling becomes a tensor by which frequencies are divided; linear a factor", async () => {
  const model = goldenModel("llama-llama3")
  const { shape } = modelConfig(JSON.parse(readFileSync(join(model, "config.json"), "utf8")))
  await exported(model, {}, async (file) => {
    const factors = await file.readFloat32("rope_freqs.weight")
    const rope = shape.layers[0]!.rope!
    const scaled = inverseFrequencies(rope, 1)
    expect(factors.length).toBe(shape.headDim / 2)
    scaled.forEach((frequency, i) => {
      const unscaled = rope.ropeTheta ** ((-2 * i) / shape.headDim)
      expect(unscaled / factors[i]!).toBeCloseTo(frequency, 6)
    })
    expect(Math.max(...factors)).toBeGreaterThan(1)
  })
  await exported(goldenModel("llama-linear"), {}, async (file) => {
    expect(plain(file)).toMatchObject({
      "llama.rope.scaling.type": "linear",
      "llama.rope.scaling.factor": 4,
    })
  })
  const out = join(newFolder(), "out")
  const { notes } = await exportModel(goldenModel("llama-dynamic"), { to: "gguf", out })
  expect(notes).toEqual([
    expect.stringMatching(/no dynamic rotary scaling: the same up to \d+ tokens/),
  ])
})

const typesOf = (file: GgufReader, pattern: RegExp): GgufType[] =>
  [...file.tensors].flatMap(([name, { type }]) => (pattern.test(name) ? [type] : []))

test("types: vectors stay F32; rows that are no whole blocks F16; 4-bit layers have an 8-bit embedding", async () => {
  const model = goldenModel("qwen2") // hidden size 32, intermediate size 40
  await exported(model, { type: "q4_0" }, async (file) => {
    expect(new Set(typesOf(file, /norm|bias/))).toEqual(new Set(["F32"]))
    expect(new Set(typesOf(file, /attn_[qkv]\.weight|ffn_(up|gate)/))).toEqual(new Set(["Q4_0"]))
    expect(new Set(typesOf(file, /ffn_down/))).toEqual(new Set(["F16"]))
    expect(typesOf(file, /token_embd/)).toEqual(["Q8_0"])
    expect(plain(file)["general.file_type"]).toBe(2)
  })
  await exported(model, { type: "bf16" }, async (file) => {
    expect(new Set(typesOf(file, /attn_q\.weight|ffn|token_embd/))).toEqual(
      new Set(["BF16", "F32"]),
    )
  })
})

test("the tokenizer: padded to the embedding, special tokens and template as the model has them", async () => {
  const model = goldenModel("qwen2", { size: 40 })
  writeFileSync(join(model, "generation_config.json"), JSON.stringify({ eos_token_id: [2, 7] }))
  await exported(model, {}, async (file) => {
    const read = plain(file)
    expect(read).toMatchObject({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "gpt-2",
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
      "tokenizer.ggml.eot_token_id": 7,
      "tokenizer.ggml.add_bos_token": false,
      "tokenizer.ggml.add_eos_token": false,
      "tokenizer.chat_template": expect.stringContaining("<|im_start|>"),
    })
    const [tokens, types] = [read["tokenizer.ggml.tokens"], read["tokenizer.ggml.token_type"]]
    expect((tokens as string[]).slice(0, 5)).toEqual(["<unk>", "<s>", "</s>", "a", "b"])
    expect((tokens as string[]).slice(38)).toHaveLength(26)
    expect((tokens as string[]).at(-1)).toBe("[PAD63]")
    expect((types as number[]).slice(0, 4)).toEqual([3, 3, 3, 1])
    expect((types as number[]).at(-1)).toBe(5)
  })
})

test.each<[string, string, object, RegExp]>([
  ["qwen3 with biases", "qwen3", { attention_bias: true }, /qwen3 does not know attention_bias/],
  [
    "llama3 scaling elsewhere than in llama",
    "qwen2",
    {
      rope_scaling: {
        rope_type: "llama3",
        factor: 8,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 64,
      },
    },
    /qwen2 does not know rope_scaling of type llama3/,
  ],
  ["wide heads", "qwen2", { head_dim: 16 }, /qwen2 does not know heads of 16/],
])("%s is refused by name", (_, family, keys, message) => {
  const json = JSON.parse(readFileSync(join(goldenModel(family), "config.json"), "utf8")) as object
  const config = modelConfig({ ...json, rope_parameters: undefined, ...keys })
  expect(() => ggufModel(config, { where: "model", name: "m", type: "F32" })).toThrow(message)
})
test.each(exportable.filter((name) => adapted.includes(name)))(
  "%s: an adapter apart is A, and B as llama.cpp scales and turns it",
  async (name) => {
    const adapter = goldenAdapter(name, goldenModel(name))
    const { config } = await loadModel(goldenModel(name))
    const { spec, tensors } = await readAdapter(adapter, config.shape)
    const gguf = ggufOf(name)!
    await exported(adapter, { to: "gguf-adapter" }, async (file) => {
      expect(plain(file)).toMatchObject({
        "general.type": "adapter",
        "general.architecture": gguf.architecture,
        "adapter.type": "lora",
        "adapter.lora.alpha": spec.loraAlpha,
      })
      expect(file.tensors.size).toBe(tensors.size)
      for (const [peft, values] of tensors) {
        const [, module, factor] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(peft)!
        const read = await file.readFloat32(
          `${ggufName(`${module}.weight`, gguf)}.lora_${factor!.toLowerCase()}`,
        )
        const turned = gguf.turnsNeighbours && factor === "B" && /[qk]_proj$/.test(module!)
        const rows = values.length / spec.loraRank
        const { headDim } = config.shape
        expect(read, peft).toEqual(turned ? interleavedHeads(values, rows, headDim) : values)
      }
    })
  },
)
