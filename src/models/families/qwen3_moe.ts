import { flag, integer, refuse } from "./config-keys.ts"
import { decoderConfig, requireSilu } from "./decoder-config.ts"
import { type ExpertsShape, expertLayers, experts, expertsConfig } from "./experts.ts"
import type { Family } from "./family.ts"
import { llamaBlock, llamaParameters, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"
import { windowed } from "./sliding-layers.ts"

export interface Qwen3MoeShape extends ExpertsShape {
  readonly attentionBias: boolean
}

const SPARSE = "sparse"

/** `model_type: qwen3_moe`: Qwen3 with experts, in every layer or in some. */
export const qwen3_moe: Family<Qwen3MoeShape> = {
  about: "Qwen3 (experts)",
  architecture: "Qwen3MoeForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, { numKeyValueHeads: 4, maxPositionEmbeddings: 32768 })
    requireSilu(keys)
    const rope = ropeParameters(keys, config)
    const slides = flag(keys, "use_sliding_window", false) && keys.values.sliding_window !== null
    const attention = slides
      ? windowed(rope, integer(keys, "sliding_window", 4096))
      : { name: "full", rope }
    const every = integer(keys, "decoder_sparse_step", 1)
    const dense = keys.values.mlp_only_layers ?? []
    if (!Array.isArray(dense)) refuse(keys, "mlp_only_layers", "a list of layers")
    const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) =>
      !dense.includes(layer) && (layer + 1) % every === 0
        ? { ...attention, name: `${attention.name}, ${SPARSE}` }
        : attention,
    )
    return {
      ...config,
      layers,
      ...expertsConfig(keys, { auxLossCoef: 0.001 }),
      moeIntermediateSize: integer(keys, "moe_intermediate_size", 768),
      attentionBias: flag(keys, "attention_bias", false),
    }
  },
  parameters: (shape, kind) =>
    llamaParameters(shape, {
      qkNorm: true,
      attentionBias: shape.attentionBias,
      attentionOutputBias: shape.attentionBias,
      ...(kind.name.endsWith(SPARSE) ? { mlp: expertLayers(shape) } : {}),
    }),
  block: (x, parts, shape, kind) =>
    llamaBlock(x, parts, shape, {
      qkNorm: true,
      ...(kind.name.endsWith(SPARSE) ? { mlp: (n2) => experts(n2, parts, shape) } : {}),
    }),
  finalNorm: rmsNorm,
}
