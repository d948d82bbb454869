import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { decoderParameters, parameterCount } from "../../src/models/block/parameters.ts"
import { foreignModel } from "../../src/models/families/foreign-model.ts"
import { modelConfig } from "../../src/models/families/model-config.ts"

const CONFIGS = fileURLToPath(new URL("../../../shared/data/configs/", import.meta.url))
const present = existsSync(`${CONFIGS}param_counts.json`)
const readJson = (path: string) => JSON.parse(readFileSync(path, "utf8"))

describe.skipIf(!present)(`real configs (${present ? "present" : `absent: ${CONFIGS}`})`, () => {
  const counts = present ? readJson(`${CONFIGS}param_counts.json`) : {}
  test.each(Object.entries(counts))("%s has %d parameters", (file, count) => {
    expect(parameterCount(modelConfig(readJson(CONFIGS + file)).shape)).toBe(count)
  })
  test("every model config there is counted", () => {
    const files = present ? readdirSync(CONFIGS) : []
    const models = files.filter((f) => !/^(adapter|generation)_config|param_counts/.test(f))
    expect(models.sort()).toEqual(Object.keys(counts).sort())
  })
  test("Llama 3.1's stretch is read", () => {
    const { shape, eosTokenIds } = modelConfig(readJson(`${CONFIGS}Llama-3.1-8B-Instruct.json`))
    expect(shape.layers[0]!.rope).toEqual({
      ropeType: "llama3",
      ropeTheta: 500000,
      rotaryDim: 128,
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    })
    expect(eosTokenIds).toEqual([128001, 128008, 128009])
  })
  test("Transformers 5 writes rope_parameters and dtype", () => {
    const file = "Qwen2.5-1.5B-Instruct.transformers5.json"
    const { shape, dtype } = modelConfig(readJson(CONFIGS + file))
    expect(shape.layers[0]!.rope).toEqual({ ropeType: "default", ropeTheta: 1e6, rotaryDim: 128 })
    expect(dtype).toBe("float16")
  })
})

const LLAMA = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 64,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
}
const QWEN2 = { ...LLAMA, model_type: "qwen2", architectures: ["Qwen2ForCausalLM"] }
const QWEN3_MOE = {
  ...{ ...LLAMA, model_type: "qwen3_moe", architectures: ["Qwen3MoeForCausalLM"] },
  ...{ num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 16 },
}
const MISTRAL = { ...LLAMA, model_type: "mistral", architectures: ["MistralForCausalLM"] }

test("biases of all attention projections, and of the MLP, where a Llama config asks for them", () => {
  const { shape } = modelConfig({ ...LLAMA, attention_bias: true, mlp_bias: true })
  const biases = decoderParameters(shape).filter(({ name }) => name.endsWith(".bias"))
  expect(biases.length).toBe(2 * 7)
})

test.each([
  ["type", { type: "linear", factor: 2 }],
  ["rope_type", { rope_type: "linear", factor: 2 }],
])("rope_scaling spelled with %s", (_name, rope_scaling) => {
  const { shape } = modelConfig({ ...LLAMA, rope_theta: 5000, rope_scaling })
  expect(shape.layers[0]!.rope).toEqual({
    ropeType: "linear",
    ropeTheta: 5000,
    rotaryDim: 8,
    factor: 2,
  })
})

/** Each layer's window, 0 for none. */
const windows = (json: unknown) => modelConfig(json).shape.layers.map(({ window }) => window ?? 0)

test.each<[string, Record<string, unknown>, number[]]>([
  ["Mistral's, in every layer", { ...MISTRAL, sliding_window: 64 }, [64, 64]],
  ["Mistral's default", MISTRAL, [4096, 4096]],
  ["none in later Mistrals", { ...MISTRAL, sliding_window: null }, [0, 0]],
  ["Qwen's, which is off", { ...QWEN2, sliding_window: 8, use_sliding_window: false }, [0, 0]],
  [
    "none in a Qwen whose window is null",
    { ...QWEN2, use_sliding_window: true, sliding_window: null, max_window_layers: 0 },
    [0, 0],
  ],
  [
    "none in a Qwen with experts whose window is null",
    { ...QWEN3_MOE, use_sliding_window: true, sliding_window: null },
    [0, 0],
  ],
  [
    "SmolLM3's that layer_types names, though use_sliding_window is off",
    {
      ...{ ...LLAMA, model_type: "smollm3", architectures: ["SmolLM3ForCausalLM"] },
      ...{ sliding_window: 4, layer_types: ["full_attention", "sliding_attention"] },
    },
    [0, 4],
  ],
  [
    "Qwen's upper layers",
    { ...QWEN2, use_sliding_window: true, sliding_window: 64, max_window_layers: 1 },
    [0, 64],
  ],
  [
    "the layers that are named",
    {
      ...QWEN2,
      use_sliding_window: true,
      sliding_window: 64,
      layer_types: ["sliding_attention", "full_attention"],
    },
    [64, 0],
  ],
])("windows: %s", (_name, json, expected) => {
  expect(windows(json)).toEqual(expected)
})

const refused: readonly [string, Record<string, unknown>, RegExp][] = [
  ["another family", { ...LLAMA, model_type: "mamba" }, /llama, mistral, .*qwen3.*mamba/],
  ["tokens that see later ones", { ...QWEN2, is_causal: false }, /is_causal.*true.*got false/],
  ["the same by null", { ...LLAMA, is_causal: null }, /is_causal.*got nothing/],
  [
    "a layer with a window that is null",
    {
      ...QWEN2,
      use_sliding_window: true,
      sliding_window: null,
      layer_types: ["sliding_attention", "full_attention"],
    },
    /sliding_window.*got nothing/,
  ],
  [
    "a SmolLM3 with such a layer and no window",
    {
      ...{ ...LLAMA, model_type: "smollm3", architectures: ["SmolLM3ForCausalLM"] },
      layer_types: ["full_attention", "sliding_attention"],
    },
    /sliding_window.*got nothing/,
  ],
  [
    "a Gemma 2 whose window is null",
    {
      ...{ ...LLAMA, model_type: "gemma2", architectures: ["Gemma2ForCausalLM"], head_dim: 8 },
      ...{ hidden_activation: "gelu_pytorch_tanh", query_pre_attn_scalar: 8, sliding_window: null },
    },
    /sliding_window.*got nothing/,
  ],
  ["no family", { ...LLAMA, model_type: undefined }, /got nothing/],
  [
    "a classifier",
    { ...LLAMA, architectures: ["LlamaForTokenClassification"] },
    /LlamaForCausalLM/,
  ],
  [
    "remote code",
    { ...LLAMA, architectures: ["MyLlama"], auto_map: { AutoModel: "x.Y" } },
    /MyLlama.*auto_map.*never runs/,
  ],
  [
    "a quantisation in a word",
    { ...LLAMA, quantization_config: "awq" },
    /quantization_config.*awq/,
  ],
  ["yarn with no factor", { ...LLAMA, rope_scaling: { rope_type: "yarn" } }, /factor.*nothing/],
  [
    "longrope with too few factors",
    { ...LLAMA, rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
    /short_factor.*list of 4/,
  ],
  ["mrope", { ...QWEN2, rope_scaling: { type: "mrope" } }, /default, linear, dynamic, llama3/],
  [
    "rope per layer type",
    { ...LLAMA, rope_parameters: { full_attention: {} } },
    /one rotary setting.*full_attention/,
  ],
  ["half rotary", { ...LLAMA, rope_parameters: { partial_rotary_factor: 0.5 } }, /partial/],
  ["linear with no factor", { ...LLAMA, rope_scaling: { type: "linear" } }, /factor.*nothing/],
  ["another activation", { ...LLAMA, hidden_act: "gelu" }, /hidden_act.*silu.*gelu/],
  ["a layer of another kind", { ...QWEN2, layer_types: ["linear_attention"] }, /layer_types/],
  ["heads that do not divide", { ...LLAMA, num_key_value_heads: 3 }, /num_key_value_heads/],
  [
    "heads that the family's own number does not divide",
    {
      ...{ ...QWEN2, model_type: "qwen3", architectures: null },
      ...{ num_attention_heads: 6, hidden_size: 48, num_key_value_heads: undefined },
    },
    /num_key_value_heads.*divisor.*\(6\), where qwen3 has 32 unless/,
  ],
  ["an odd head", { ...LLAMA, head_dim: 7 }, /head_dim.*even/],
  ["an absurd size", { ...LLAMA, vocab_size: 1e12 }, /vocab_size.*whole number/],
  ["a size as text", { ...LLAMA, hidden_size: "32" }, /hidden_size.*"32"/],
  ["a missing size", { ...LLAMA, intermediate_size: undefined }, /intermediate_size.*nothing/],
  ["eight-bit floats", { ...LLAMA, dtype: "float8_e4m3fn" }, /dtype.*float8/],
]
test.each([
  { bits: 4 },
  { quant_method: "bitsandbytes", load_in_4bit: true },
  { quant_method: "gptq", load_in_4bit: false },
])("%j is kept apart from the config that is written again", (quantization_config) => {
  const { quantization, json } = modelConfig({ ...LLAMA, quantization_config })
  expect(quantization).toEqual(quantization_config)
  expect(json).not.toHaveProperty("quantization_config")
})

test.each([
  ["qwen3_moe", {}, 0],
  ["qwen3_moe", { output_router_logits: false, router_aux_loss_coef: 0.5 }, 0],
  ["qwen3_moe", { output_router_logits: true }, 0.001],
  ["olmoe", { output_router_logits: true }, 0.01],
  ["olmoe", { output_router_logits: true, router_aux_loss_coef: 0 }, 0],
  ["olmoe", { output_router_logits: true, router_aux_loss_coef: 0.5 }, 0.5],
])("what a %s config %j says of its routers", (family, changes, coefficient) => {
  const path = new URL(`../../golden/models/${family}/config.json`, import.meta.url)
  const { router_aux_loss_coef: _, ...json } = readJson(fileURLToPath(path))
  const { shape } = modelConfig({ ...json, ...changes })
  expect(shape).toMatchObject({ routerAuxLossCoef: coefficient })
})

const OLMO3 = {
  ...QWEN2,
  ...{ model_type: "olmo3", architectures: ["Olmo3ForCausalLM"], sliding_window: 4 },
  rope_theta: undefined,
}
const thetas = (json: unknown) => modelConfig(json).shape.layers.map(({ rope }) => rope!.ropeTheta)

test("one rope_theta of an OLMo 3, which readers give to other layers, is refused where it is unusual", () => {
  const layer_types = ["sliding_attention", "full_attention"]
  expect(thetas({ ...OLMO3, layer_types })).toEqual([5e5, 5e5])
  expect(thetas({ ...OLMO3, layer_types, rope_theta: 5e5 })).toEqual([5e5, 5e5])
  const rope_parameters = {
    full_attention: { rope_type: "default", rope_theta: 1e4 },
    sliding_attention: { rope_type: "default", rope_theta: 2e4 },
  }
  expect(thetas({ ...OLMO3, layer_types, rope_parameters })).toEqual([2e4, 1e4])
  const full = ["full_attention", "full_attention"]
  expect(thetas({ ...OLMO3, layer_types: full, rope_theta: 1e4 })).toEqual([1e4, 1e4])
  for (const unusual of [
    { rope_theta: 1e4 },
    { rope_scaling: { type: "default", rope_theta: 1e4 } },
  ])
    expect(() => modelConfig({ ...OLMO3, layer_types, ...unusual })).toThrow(
      /rope_theta.*500000.*full_attention and sliding_attention/,
    )
})

test("Gemma 2's cap of attention is none of Gemma 3's", () => {
  const path = new URL("../../golden/models/gemma3_text/config.json", import.meta.url)
  const { shape } = modelConfig({ ...readJson(fileURLToPath(path)), attn_logit_softcapping: 2 })
  expect(shape).toMatchObject({ attnLogitSoftcapping: undefined })
})

test("a coefficient of the routers below 0 is refused", () => {
  const path = new URL("../../golden/models/olmoe/config.json", import.meta.url)
  const json = { ...readJson(fileURLToPath(path)), output_router_logits: true }
  for (const coefficient of [-1, "0.1", Number.POSITIVE_INFINITY]) {
    expect(() => modelConfig({ ...json, router_aux_loss_coef: coefficient })).toThrow(
      /"router_aux_loss_coef" to be/,
    )
  }
})

test.each(refused)("%s is refused, by name", (_name, json, message) => {
  expect(() => modelConfig(json)).toThrow(message)
  expect(() => modelConfig(json)).toThrow(InputError)
})

/** One layer's rotary setting. */
const ropeOf = (json: Record<string, unknown>) => modelConfig(json).shape.layers[0]!.rope!

describe("rope_scaling beside rope_parameters", () => {
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 }
  test("the first counts, as in Transformers", () => {
    const both = { ...LLAMA, rope_parameters: { rope_type: "default", rope_theta: 10000 } }
    expect(ropeOf({ ...both, rope_scaling: yarn }).ropeType).toBe("yarn")
    const linear = { type: "linear", factor: 2 }
    expect(ropeOf({ ...both, rope_parameters: {}, rope_scaling: linear }).ropeType).toBe("linear")
    const scaled = { ...LLAMA, rope_parameters: { ...linear, rope_type: "linear" } }
    expect(ropeOf({ ...scaled, rope_scaling: { rope_type: "default" } }).ropeType).toBe("default")
    expect(ropeOf({ ...scaled, rope_scaling: null }).ropeType).toBe("linear")
    expect(ropeOf({ ...scaled, rope_scaling: {} }).ropeType).toBe("linear")
  })
  test("refused where a rope_theta would be lost without a word", () => {
    const theta = { ...LLAMA, rope_parameters: { rope_type: "default", rope_theta: 1e6 } }
    expect(() => modelConfig({ ...theta, rope_scaling: yarn })).toThrow(
      /"rope_scaling" and "rope_parameters" disagree on rope_theta \(none and 1000000\)/,
    )
    const said = { ...theta, rope_scaling: { ...yarn, rope_theta: 1e6 } }
    expect(ropeOf(said).ropeTheta).toBe(1e6)
    expect(ropeOf({ ...theta, rope_theta: 1e6, rope_scaling: yarn }).ropeTheta).toBe(1e6)
  })
})

test("llama3 scaling without the trained length takes the longest one", () => {
  const scaling = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 }
  expect(ropeOf({ ...LLAMA, rope_scaling: scaling })).toMatchObject({
    originalMaxPositionEmbeddings: 128,
  })
})

test.each<[string, Record<string, unknown>]>([
  ["a window's first layer, of a window that is off", { ...QWEN2, max_window_layers: 0 }],
  ["heads that null leaves to the query heads", { ...QWEN2, num_key_value_heads: null }],
  ["a dtype that is left to the tensors", { ...LLAMA, torch_dtype: "auto" }],
  ["a dtype with its module", { ...LLAMA, torch_dtype: "torch.bfloat16" }],
  ["double precision", { ...LLAMA, dtype: "float64" }],
  ["another name of silu", { ...LLAMA, hidden_act: "swish" }],
  ["no end of text, written as -1", { ...LLAMA, eos_token_id: -1 }],
  ["-1 in a list", { ...LLAMA, eos_token_id: [2, -1] }],
  [
    "a quantisation that is off",
    { ...LLAMA, quantization_config: { load_in_4bit: false, load_in_8bit: false } },
  ],
  ["an empty quantisation", { ...LLAMA, quantization_config: {} }],
  ["no longest length", { ...LLAMA, max_position_embeddings: undefined }],
  ["a very long one", { ...LLAMA, max_position_embeddings: 2 ** 25 }],
  ["the backbone's class", { ...LLAMA, architectures: ["LlamaModel"] }],
  ["an old conversion's class", { ...LLAMA, architectures: ["LLaMAForCausalLM"] }],
  ["code beside a family that is known", { ...LLAMA, auto_map: { AutoModel: "x.Y" } }],
])("harmless: %s", (_name, json) => {
  expect(modelConfig(json).shape.numHiddenLayers).toBe(2)
})

test("ids of -1 are none", () => {
  expect(modelConfig({ ...LLAMA, eos_token_id: [2, -1] }).eosTokenIds).toEqual([2])
  expect(modelConfig({ ...LLAMA, bos_token_id: -1 }).bosTokenId).toBeNull()
})

test("a type of Transformers' own whose tokens see later ones is refused too", () => {
  const json = { model_type: "gemma4", text_config: { vocab_size: 64 } }
  expect(foreignModel(json, "config.json").shape.vocabSize).toBe(64)
  const seeing = { ...json, text_config: { vocab_size: 64, is_causal: false } }
  expect(() => foreignModel(seeing, "config.json")).toThrow(/is_causal.*true.*got false/)
  const byNull = { ...json, is_causal: null }
  expect(() => foreignModel(byNull, "config.json")).toThrow(/is_causal.*true.*got null/)
})
