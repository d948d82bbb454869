import { flag } from "./config-keys.ts"
import { decoderConfig, requireSilu, sameLayers } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { GGUF_LLAMA } from "./gguf-family.ts"
import { type BiasedShape, biasedParameters, llamaBlock, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"

/** `model_type: llama`: Llama 2, 3, 3.1, 3.2, DeepSeekMath and everything that took their form. */
export const llama: Family<BiasedShape> = {
  about: "Llama 2, 3, 3.1, 3.2, DeepSeekMath, SmolLM2",
  architecture: "LlamaForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, { maxPositionEmbeddings: 2048 })
    requireSilu(keys)
    return {
      ...config,
      layers: sameLayers(config.numHiddenLayers, {
        name: "full",
        rope: ropeParameters(keys, config),
      }),
      attentionBias: flag(keys, "attention_bias", false),
      mlpBias: flag(keys, "mlp_bias", false),
    }
  },
  parameters: biasedParameters,
  block: (x, parts, shape) => llamaBlock(x, parts, shape),
  finalNorm: rmsNorm,
  gguf: GGUF_LLAMA,
}
