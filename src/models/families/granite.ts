import { flag, positive } from "./config-keys.ts"
import { decoderConfig, requireSilu, sameLayers } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { GGUF_GRANITE } from "./gguf-family.ts"
import { type BiasedShape, biasedParameters, llamaBlock, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"

export interface GraniteShape extends BiasedShape {
  readonly embeddingMultiplier: number
  readonly attentionMultiplier: number
  readonly residualMultiplier: number
  readonly logitsScaling: number
}

/** `model_type: granite`: Granite 3, a Llama with four factors of its own. */
export const granite: Family<GraniteShape> = {
  about: "Granite 3",
  architecture: "GraniteForCausalLM",
  rewardModel: null,
  config(keys) {
    const config = decoderConfig(keys, { maxPositionEmbeddings: 2048 })
    requireSilu(keys)
    const layer = { name: "full", rope: ropeParameters(keys, config) }
    return {
      ...config,
      layers: sameLayers(config.numHiddenLayers, layer),
      attentionBias: flag(keys, "attention_bias", false),
      mlpBias: flag(keys, "mlp_bias", false),
      embeddingMultiplier: positive(keys, "embedding_multiplier", 1),
      attentionMultiplier: positive(keys, "attention_multiplier", 1),
      residualMultiplier: positive(keys, "residual_multiplier", 1),
      logitsScaling: positive(keys, "logits_scaling", 1),
    }
  },
  parameters: biasedParameters,
  block: (x, parts, shape) =>
    llamaBlock(x, parts, shape, {
      attentionScale: shape.attentionMultiplier,
      residualScale: shape.residualMultiplier,
    }),
  finalNorm: rmsNorm,
  gguf: GGUF_GRANITE,
  embeddingScale: ({ embeddingMultiplier }) => embeddingMultiplier,
  logits: ({ logitsScaling }) => ({ scale: 1 / logitsScaling }),
}
