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
import type { Rope } from "./shape.ts"

/** The keys that every family's config.json has, camelCased letter for letter. */
export interface DecoderConfig {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  readonly numKeyValueHeads: number
  readonly headDim: number
  readonly vocabSize: number
  readonly rmsNormEps: number
  readonly ropeParameters: Rope
  readonly tieWordEmbeddings: boolean
  readonly maxPositionEmbeddings: number
  readonly hiddenAct: "silu"
}

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
export function ropeParameters(keys: ConfigKeys): Rope {
  const rope = ropeKeys(keys)
  const typeKey = present(rope, "rope_type") ? "rope_type" : "type"
  const ropeType = present(rope, typeKey) ? rope.values[typeKey] : "default"
  const ropeTheta = positive(rope, "rope_theta", 10_000)
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
      return { ropeType, ropeTheta }
    case "linear":
    case "dynamic":
      return { ropeType, ropeTheta, factor: positive(rope, "factor") }
    case "llama3": {
      const lowFreqFactor = positive(rope, "low_freq_factor")
      const highFreqFactor = positive(rope, "high_freq_factor")
      if (highFreqFactor <= lowFreqFactor) {
        refuse(rope, "high_freq_factor", `above low_freq_factor (${lowFreqFactor})`)
      }
      return {
        ropeType,
        ropeTheta,
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
  const hiddenAct = keys.values.hidden_act ?? "silu"
  if (hiddenAct !== "silu") refuse(keys, "hidden_act", 'the supported activation "silu"')
  return {
    hiddenSize,
    intermediateSize: integer(keys, "intermediate_size"),
    numHiddenLayers: integer(keys, "num_hidden_layers"),
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    vocabSize: integer(keys, "vocab_size"),
    rmsNormEps: positive(keys, "rms_norm_eps", 1e-6),
    ropeParameters: ropeParameters(keys),
    tieWordEmbeddings: flag(keys, "tie_word_embeddings", false),
    maxPositionEmbeddings: integer(keys, "max_position_embeddings"),
    hiddenAct,
  }
}

/**
 * A window at least as long as the longest sequence changes nothing; a shorter one is not supported.
 * @throws InputError
 */
export function refuseSlidingWindow(keys: ConfigKeys, window: number, longest: number): void {
  if (window >= longest) return
  throw new InputError(
    `${keys.where}: sliding-window attention ("sliding_window": ${window}, for sequences up to ` +
      `"max_position_embeddings": ${longest}) is not supported. If your sequences are no longer than ` +
      `${window} tokens the window has no effect: set "max_position_embeddings" to ${window} in a copy`,
  )
}
