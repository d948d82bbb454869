import { flag } from "./config-keys.ts"
import { decoderConfig, requireSilu, sameLayers } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { GGUF_OLMO2 } from "./gguf-family.ts"
import { rmsNorm } from "./llama-block.ts"
import { type OlmoShape, olmoBlock, olmoParameters } from "./olmo-block.ts"
import { ropeParameters } from "./rope-config.ts"

/** `model_type: olmo2`: OLMo 2. */
export const olmo2: Family<OlmoShape> = {
  about: "OLMo 2",
  architecture: "Olmo2ForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, { rmsNormEps: 1e-5, maxPositionEmbeddings: 2048 })
    requireSilu(keys)
    const layer = { name: "full", rope: ropeParameters(keys, config) }
    return {
      ...config,
      layers: sameLayers(config.numHiddenLayers, layer),
      attentionBias: flag(keys, "attention_bias", false),
    }
  },
  parameters: olmoParameters,
  block: olmoBlock,
  finalNorm: rmsNorm,
  gguf: GGUF_OLMO2,
}
