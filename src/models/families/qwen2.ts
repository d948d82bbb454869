import { decoderConfig, requireSilu } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { GGUF_QWEN2 } from "./gguf-family.ts"
import { llamaBlock, llamaParameters, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"
import { qwenLayers } from "./sliding-layers.ts"

/** `model_type: qwen2`: Qwen1.5, Qwen2, Qwen2.5, Qwen2.5-Math. q, k and v always have biases. */
export const qwen2: Family = {
  about: "Qwen1.5, Qwen2, Qwen2.5",
  architecture: "Qwen2ForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, { numKeyValueHeads: 32, maxPositionEmbeddings: 32_768 })
    requireSilu(keys)
    return { ...config, layers: qwenLayers(keys, config, ropeParameters(keys, config)) }
  },
  parameters: (shape) => llamaParameters(shape, { attentionBias: true }),
  block: (x, parts, shape) => llamaBlock(x, parts, shape),
  finalNorm: rmsNorm,
  gguf: GGUF_QWEN2,
}
