import { flag } from "./config-keys.ts"
import { decoderConfig, requireSilu } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { GGUF_QWEN3 } from "./gguf-family.ts"
import { llamaBlock, llamaParameters, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"
import type { DecoderShape } from "./shape.ts"
import { qwenLayers } from "./sliding-layers.ts"

export interface Qwen3Shape extends DecoderShape {
  /** Biases on all four attention projections. */
  readonly attentionBias: boolean
}

/** `model_type: qwen3`: dense Qwen3, with a norm over each head of q and k. */
export const qwen3: Family<Qwen3Shape> = {
  about: "Qwen3 (dense)",
  architecture: "Qwen3ForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, {
      headDim: 128,
      numKeyValueHeads: 32,
      maxPositionEmbeddings: 32_768,
    })
    requireSilu(keys)
    return {
      ...config,
      layers: qwenLayers(keys, config, ropeParameters(keys, config)),
      attentionBias: flag(keys, "attention_bias", false),
    }
  },
  parameters: (shape) =>
    llamaParameters(shape, {
      qkNorm: true,
      attentionBias: shape.attentionBias,
      attentionOutputBias: shape.attentionBias,
    }),
  block: (x, parts, shape) => llamaBlock(x, parts, shape, { qkNorm: true }),
  finalNorm: rmsNorm,
  gguf: GGUF_QWEN3,
}
