import { InputError } from "../../errors.ts"
import {
  type ConfigKeys,
  flag,
  integer,
  isObject,
  positive,
  present,
  refuse,
} from "./config-keys.ts"
import type { DecoderShape, LayerKind, Rope } from "./shape.ts"

/** What every family's config.json says; its layers come from the family. */
export type DecoderConfig = Omit<DecoderShape, "layers">

const ROPE_TYPES = "default, linear, dynamic, llama3"

/** Transformers 5 writes `rope_parameters`; 4 wrote `rope_theta` and `rope_scaling` (`type` or `rope_type`). */
function ropeKeys(keys: ConfigKeys): ConfigKeys {
  const key = present(keys, "rope_parameters") ? "rope_parameters" : "rope_scaling"
  const nested = present(keys, key) ? keys.values[key] : {}
  if (!isObject(nested)) refuse(keys, key, "an object or null")
  const merged = { rope_theta: keys.values.rope_theta, ...nested }
  return { where: `${keys.where}: ${key}`, values: merged }
}

/** @throws InputError for a scaling this engine does not compute. */
export function ropeParameters(
  keys: ConfigKeys,
  { headDim, maxPositionEmbeddings }: DecoderConfig,
): Rope {
  const rope = ropeKeys(keys)
  const typeKey = present(rope, "rope_type") ? "rope_type" : "type"
  const ropeType = present(rope, typeKey) ? rope.values[typeKey] : "default"
  const base = { ropeTheta: positive(rope, "rope_theta", 10_000), rotaryDim: headDim }
  if (positive(rope, "partial_rotary_factor", 1) !== 1) {
    refuse(rope, "partial_rotary_factor", "1 (partial rotary embeddings are not supported)")
  }
  switch (ropeType) {
    case "default":
      if (Object.values(rope.values).some(isObject)) {
        throw new InputError(
          `${rope.where}: expected one rotary setting for all layers, got several`,
        )
      }
      return { ...base, ropeType }
    case "linear":
      return { ...base, ropeType, factor: positive(rope, "factor") }
    case "dynamic":
      return { ...base, ropeType, factor: positive(rope, "factor"), maxPositionEmbeddings }
    case "llama3": {
      const lowFreqFactor = positive(rope, "low_freq_factor")
      const highFreqFactor = positive(rope, "high_freq_factor")
      if (highFreqFactor <= lowFreqFactor) {
        refuse(rope, "high_freq_factor", `above low_freq_factor (${lowFreqFactor})`)
      }
      return {
        ...base,
        ropeType,
        factor: positive(rope, "factor"),
        lowFreqFactor,
        highFreqFactor,
        originalMaxPositionEmbeddings: integer(rope, "original_max_position_embeddings"),
      }
    }
    default:
      return refuse(rope, typeKey, `a supported rotary scaling: ${ROPE_TYPES}`)
  }
}

interface HeadDefaults {
  /** When `head_dim` is missing; left out: hidden_size / num_attention_heads. */
  readonly headDim?: number
  /** When `num_key_value_heads` is missing; left out: num_attention_heads. */
  readonly numKeyValueHeads?: number
}

/** Reads and checks the keys all families share. Defaults are Transformers'. */
export function decoderConfig(keys: ConfigKeys, defaults: HeadDefaults = {}): DecoderConfig {
  const hiddenSize = integer(keys, "hidden_size")
  const numAttentionHeads = integer(keys, "num_attention_heads")
  if (!present(keys, "head_dim") && !defaults.headDim && hiddenSize % numAttentionHeads !== 0) {
    refuse(keys, "hidden_size", `a multiple of num_attention_heads (${numAttentionHeads})`)
  }
  const headDim = integer(keys, "head_dim", defaults.headDim ?? hiddenSize / numAttentionHeads)
  // The rotary embedding pairs element i with i + D / 2, and `dynamic` divides by D - 2.
  if (headDim % 2 !== 0 || headDim < 4) refuse(keys, "head_dim", "an even number from 4")
  const keyHeads = defaults.numKeyValueHeads ?? numAttentionHeads
  const numKeyValueHeads = integer(keys, "num_key_value_heads", keyHeads)
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    refuse(keys, "num_key_value_heads", `a divisor of num_attention_heads (${numAttentionHeads})`)
  }
  return {
    modelType: String(keys.values.model_type),
    hiddenSize,
    intermediateSize: integer(keys, "intermediate_size"),
    numHiddenLayers: integer(keys, "num_hidden_layers"),
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    vocabSize: integer(keys, "vocab_size"),
    rmsNormEps: positive(keys, "rms_norm_eps", 1e-6),
    tieWordEmbeddings: flag(keys, "tie_word_embeddings", false),
    maxPositionEmbeddings: integer(keys, "max_position_embeddings"),
  }
}

/** @throws InputError for an activation that the family's block does not compute. */
export function requireSilu(keys: ConfigKeys): void {
  const came = keys.values.hidden_act ?? "silu"
  if (came !== "silu") refuse(keys, "hidden_act", 'the supported activation "silu"')
}

/** All layers alike. */
export const sameLayers = (count: number, kind: LayerKind): LayerKind[] =>
  new Array<LayerKind>(count).fill(kind)
