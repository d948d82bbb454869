import {
  type ConfigKeys,
  flag,
  integer,
  MAX_LAYERS,
  positive,
  present,
  refuse,
} from "./config-keys.ts"
import type { DecoderShape, LayerKind } from "./shape.ts"

/** What every family's config.json says; its layers come from the family. */
export type DecoderConfig = Omit<DecoderShape, "layers">

/** A limit alone: nothing is made of this size. */
const ANY_LENGTH = 2 ** 31

interface DecoderDefaults {
  /** When `head_dim` is missing; left out: hidden_size / num_attention_heads. */
  readonly headDim?: number
  /** When `num_key_value_heads` is missing; left out: num_attention_heads. */
  readonly numKeyValueHeads?: number
  readonly tieWordEmbeddings?: boolean
  readonly rmsNormEps?: number
  readonly maxPositionEmbeddings?: number
}

/** Reads and checks the keys all families share. Defaults are Transformers'. */
export function decoderConfig(keys: ConfigKeys, defaults: DecoderDefaults = {}): DecoderConfig {
  requireCausal(keys)
  const hiddenSize = integer(keys, "hidden_size")
  const numAttentionHeads = integer(keys, "num_attention_heads")
  if (!present(keys, "head_dim") && !defaults.headDim && hiddenSize % numAttentionHeads !== 0) {
    refuse(keys, "hidden_size", `a multiple of num_attention_heads (${numAttentionHeads})`)
  }
  const headDim = integer(keys, "head_dim", defaults.headDim ?? hiddenSize / numAttentionHeads)
  // The rotary embedding pairs element i with i + D / 2, and `dynamic` divides by D - 2.
  if (headDim % 2 !== 0 || headDim < 4) refuse(keys, "head_dim", "an even number from 4")
  // null means one for each query head; the family's own number is for a key that is missing.
  const missing = keys.values.num_key_value_heads === undefined
  const keyHeads = (missing ? defaults.numKeyValueHeads : undefined) ?? numAttentionHeads
  const numKeyValueHeads = integer(keys, "num_key_value_heads", keyHeads)
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    const unsaid = missing ? `, where ${keys.values.model_type} has ${keyHeads} unless it says` : ""
    const expected = `a divisor of num_attention_heads (${numAttentionHeads})${unsaid}`
    refuse(keys, "num_key_value_heads", expected)
  }
  return {
    modelType: String(keys.values.model_type),
    hiddenSize,
    intermediateSize: integer(keys, "intermediate_size"),
    numHiddenLayers: integer(keys, "num_hidden_layers", undefined, MAX_LAYERS),
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    vocabSize: integer(keys, "vocab_size"),
    rmsNormEps: positive(keys, "rms_norm_eps", defaults.rmsNormEps ?? 1e-6),
    tieWordEmbeddings: flag(keys, "tie_word_embeddings", defaults.tieWordEmbeddings ?? false),
    maxPositionEmbeddings: integer(
      keys,
      "max_position_embeddings",
      defaults.maxPositionEmbeddings,
      ANY_LENGTH,
    ),
  }
}

/** Transformers takes false and null for tokens that see those after them too, in every family. */
function requireCausal(keys: ConfigKeys): void {
  const { is_causal: causal } = keys.values
  if (causal === undefined || causal === true) return
  refuse(keys, "is_causal", "true or left out (a decoder's tokens see only those before them)")
}

/** @throws InputError for an activation that the family's block does not compute. */
export function requireSilu(keys: ConfigKeys): void {
  const came = keys.values.hidden_act ?? "silu"
  if (came !== "silu" && came !== "swish") {
    refuse(keys, "hidden_act", 'the supported activation "silu"')
  }
}

/** All layers alike. */
export const sameLayers = (count: number, kind: LayerKind): LayerKind[] =>
  new Array<LayerKind>(count).fill(kind)
