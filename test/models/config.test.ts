import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { decoderParameters, parameterCount } from "../../src/models/block/parameters.ts"
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
  ["no family", { ...LLAMA, model_type: undefined }, /got nothing/],
  [
    "a classifier",
    { ...LLAMA, architectures: ["LlamaForTokenClassification"] },
    /LlamaForCausalLM/,
  ],
  ["remote code", { ...LLAMA, auto_map: { AutoModel: "x.Y" } }, /auto_map/],
  ["a quantised checkpoint", { ...LLAMA, quantization_config: { bits: 4 } }, /quantised/],
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
  ["an odd head", { ...LLAMA, head_dim: 7 }, /head_dim.*even/],
  ["an absurd size", { ...LLAMA, vocab_size: 1e12 }, /vocab_size.*whole number/],
  ["a size as text", { ...LLAMA, hidden_size: "32" }, /hidden_size.*"32"/],
  ["a missing size", { ...LLAMA, intermediate_size: undefined }, /intermediate_size.*nothing/],
  ["eight-bit floats", { ...LLAMA, dtype: "float8_e4m3fn" }, /dtype.*float8/],
]
test.each(refused)("%s is refused, by name", (_name, json, message) => {
  expect(() => modelConfig(json)).toThrow(message)
  expect(() => modelConfig(json)).toThrow(InputError)
})
