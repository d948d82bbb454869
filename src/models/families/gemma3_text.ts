import { integer } from "./config-keys.ts"
import type { Family } from "./family.ts"
import {
  type GemmaShape,
  gemmaBlock,
  gemmaConfig,
  gemmaNorm,
  gemmaParameters,
} from "./gemma-block.ts"
import { GGUF_GEMMA3 } from "./gguf-family.ts"
import { ropeParameters } from "./rope-config.ts"
import type { LayerKind } from "./shape.ts"
import { layerTypes, slidingWindow, windowed } from "./sliding-layers.ts"

/**
 * `model_type: gemma3_text`: Gemma 3 270M and 1B, and the text part of the others. Most layers look
 * back through a window and turn by a base of their own.
 */
export const gemma3_text: Family<GemmaShape> = {
  about: "Gemma 3 270M and 1B (text)",
  architecture: "Gemma3ForCausalLM",
  rewardModel: "Gemma3TextForSequenceClassification",
  config(keys) {
    const config = {
      ...gemmaConfig(keys, { maxPositionEmbeddings: 131_072 }),
      attnLogitSoftcapping: undefined, // a key of Gemma 2's, which no reader applies here
    }
    const nested = keys.values.rope_parameters ?? {}
    const layered = Object.keys(nested).some((key) => key.endsWith("_attention"))
    // Older configs have one base for each kind, and scale the full layers only.
    const localTheta = keys.values.rope_local_base_freq
    const local = layered
      ? keys
      : { ...keys, values: { rope_theta: localTheta, rope_parameters: {} } }
    const full: LayerKind = {
      name: "full",
      rope: ropeParameters(keys, config, { theta: 1_000_000, layerType: "full_attention" }),
    }
    const rope = ropeParameters(local, config, { theta: 10_000, layerType: "sliding_attention" })
    const named = layerTypes(keys, config.numHiddenLayers)
    const sliding = windowed(rope, slidingWindow(keys, named))
    const every = integer(keys, "sliding_window_pattern", 6)
    const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) =>
      (named ? named[layer] : (layer + 1) % every !== 0) ? sliding : full,
    )
    return { ...config, layers }
  },
  parameters: (shape) => gemmaParameters(shape, { qkNorm: true }),
  block: (x, parts, shape) => gemmaBlock(x, parts, shape, { qkNorm: true }),
  finalNorm: gemmaNorm,
  embeddingScale: ({ hiddenSize }) => Math.sqrt(hiddenSize),
  logits: ({ finalLogitSoftcapping }) => ({ softcap: finalLogitSoftcapping }),
  gguf: GGUF_GEMMA3,
}
