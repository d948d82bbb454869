import { InputError } from "../../errors.ts"
import type { GgufMetadata } from "../../formats/gguf-metadata.ts"
import type { ModelType } from "./table.ts"

type Keys = Readonly<Record<string, unknown>>

/** The metadata of one architecture, read by what follows its name. */
class Reader {
  readonly #metadata: GgufMetadata
  readonly architecture: string
  readonly where: string

  constructor(metadata: GgufMetadata, architecture: string, where: string) {
    this.#metadata = metadata
    this.architecture = architecture
    this.where = where
  }
  maybe(key: string): number | undefined {
    const name = `${this.architecture}.${key}`
    const value = this.#metadata.get(name)?.value
    if (value === undefined) return undefined
    const same = Array.isArray(value) && value.every((each) => each === value[0]) ? value[0] : value
    if (typeof same === "number") return same
    throw new InputError(
      `${this.where}: expected "${name}" to be a number, the same in every layer`,
    )
  }
  need(key: string): number {
    const value = this.maybe(key)
    if (value !== undefined) return value
    throw new InputError(`${this.where}: expected metadata "${this.architecture}.${key}"`)
  }
  text(key: string): string | undefined {
    const value = this.#metadata.get(`${this.architecture}.${key}`)?.value
    return typeof value === "string" ? value : undefined
  }
}

interface Known {
  readonly modelType: ModelType
  /** What its config.json says beyond what all of them do. */
  keys?(read: Reader): Keys
}

const headDim = (read: Reader): number =>
  read.maybe("attention.key_length") ??
  read.need("embedding_length") / read.need("attention.head_count")

/** Gemma's largest models scale queries by the width of the model, the others by that of a head. */
const gemmaKeys = (read: Reader, largestBlocks: number): Keys => ({
  hidden_activation: "gelu_pytorch_tanh",
  query_pre_attn_scalar:
    read.need("block_count") === largestBlocks
      ? read.need("embedding_length") / read.need("attention.head_count")
      : headDim(read),
  sliding_window: read.need("attention.sliding_window"),
})

/** llama.cpp's architectures that are read, by `general.architecture`. */
const ARCHITECTURES: Readonly<Record<string, Known>> = {
  llama: { modelType: "llama" },
  qwen2: { modelType: "qwen2" },
  qwen3: { modelType: "qwen3" },
  olmo2: { modelType: "olmo2" },
  glm4: {
    modelType: "glm4",
    keys: (read) => ({
      partial_rotary_factor: read.need("rope.dimension_count") / headDim(read),
    }),
  },
  granite: {
    modelType: "granite",
    keys: (read) => ({
      embedding_multiplier: read.maybe("embedding_scale") ?? 1,
      attention_multiplier: read.maybe("attention.scale") ?? 1 / Math.sqrt(headDim(read)),
      residual_multiplier: read.maybe("residual_scale") ?? 1,
      logits_scaling: read.maybe("logit_scale") ?? 1,
    }),
  },
  phi3: {
    modelType: "phi3",
    keys: (read) => ({
      partial_rotary_factor: (read.maybe("rope.dimension_count") ?? headDim(read)) / headDim(read),
    }),
  },
  smollm3: { modelType: "smollm3" },
  gemma2: {
    modelType: "gemma2",
    keys: (read) => ({
      ...gemmaKeys(read, 46),
      attn_logit_softcapping: read.maybe("attn_logit_softcapping") ?? 50,
      final_logit_softcapping: read.maybe("final_logit_softcapping") ?? 30,
    }),
  },
  gemma3: {
    modelType: "gemma3_text",
    keys: (read) => ({
      ...gemmaKeys(read, 62),
      attn_logit_softcapping: null,
      final_logit_softcapping: read.maybe("final_logit_softcapping") ?? null,
      rope_local_base_freq: 10_000,
      sliding_window_pattern: 6,
    }),
  },
}

function ropeScaling(read: Reader): Keys {
  const type = read.text("rope.scaling.type") ?? "none"
  if (type === "none") return {}
  const factor = read.need("rope.scaling.factor")
  if (type === "linear") return { rope_scaling: { rope_type: "linear", factor } }
  if (type !== "yarn") {
    throw new InputError(
      `${read.where}: expected "${read.architecture}.rope.scaling.type" to be none, linear or yarn, got ${type}`,
    )
  }
  const original = read.maybe("rope.scaling.original_context_length")
  return {
    rope_scaling: {
      rope_type: "yarn",
      factor,
      ...(original === undefined ? {} : { original_max_position_embeddings: original }),
    },
  }
}

/** What the tensors say that metadata does not. */
export interface GgufTensorFacts {
  readonly vocabSize: number
  readonly isTied: boolean
  readonly hasAttentionBias: boolean
  readonly hasMlpBias: boolean
}

/**
 * The config.json of a GGUF file's model.
 *
 * @throws InputError for an architecture that is not read, and for metadata that is missing
 */
export function ggufConfig(
  metadata: GgufMetadata,
  facts: GgufTensorFacts,
  where: string,
): Record<string, unknown> & { readonly model_type: ModelType } {
  const architecture = String(metadata.get("general.architecture")?.value)
  const known = Object.hasOwn(ARCHITECTURES, architecture) ? ARCHITECTURES[architecture] : undefined
  if (known === undefined) {
    const names = Object.keys(ARCHITECTURES).join(", ")
    throw new InputError(
      `${where}: expected "general.architecture" to be one of ${names}, got ${architecture}; give the model's Hugging Face folder`,
    )
  }
  const read = new Reader(metadata, architecture, where)
  if ((read.maybe("expert_count") ?? 0) > 0) {
    throw new InputError(
      `${where}: has experts, which are not read from GGUF; give the model's Hugging Face folder`,
    )
  }
  const heads = read.need("attention.head_count")
  const isGemma = architecture.startsWith("gemma")
  if (!isGemma && read.maybe("attention.sliding_window") !== undefined) {
    throw new InputError(
      `${where}: "${architecture}.attention.sliding_window" is not read; give the model's Hugging Face folder`,
    )
  }
  return {
    model_type: known.modelType,
    hidden_size: read.need("embedding_length"),
    intermediate_size: read.need("feed_forward_length"),
    num_hidden_layers: read.need("block_count"),
    num_attention_heads: heads,
    num_key_value_heads: read.maybe("attention.head_count_kv") ?? heads,
    head_dim: headDim(read),
    vocab_size: facts.vocabSize,
    rms_norm_eps: read.need("attention.layer_norm_rms_epsilon"),
    rope_theta: read.maybe("rope.freq_base") ?? 10_000,
    max_position_embeddings: read.need("context_length"),
    tie_word_embeddings: facts.isTied,
    attention_bias: facts.hasAttentionBias,
    mlp_bias: facts.hasMlpBias,
    ...(isGemma ? {} : { hidden_act: "silu" }),
    ...ropeScaling(read),
    ...known.keys?.(read),
  }
}
