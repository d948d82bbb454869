import type { Family } from "./family.ts"
import {
  type GemmaShape,
  gemmaBlock,
  gemmaConfig,
  gemmaNorm,
  gemmaParameters,
} from "./gemma-block.ts"
import { GGUF_GEMMA2 } from "./gguf-family.ts"
import { ropeParameters } from "./rope-config.ts"
import type { LayerKind } from "./shape.ts"
import { layerTypes, slidingWindow, windowed } from "./sliding-layers.ts"

/**
 * `model_type: gemma2`: every other layer looks back through a window; attention and logits are
 * capped.
 */
export const gemma2: Family<GemmaShape> = {
  about: "Gemma 2",
  architecture: "Gemma2ForCausalLM",
  config(keys) {
    const config = gemmaConfig(keys, {
      maxPositionEmbeddings: 8192,
      attentionCap: 50,
      logitCap: 30,
    })
    const rope = ropeParameters(keys, config)
    const full: LayerKind = { name: "full", rope }
    const named = layerTypes(keys, config.numHiddenLayers)
    const sliding = windowed(rope, slidingWindow(keys, named))
    const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) =>
      (named ? named[layer] : layer % 2 === 0) ? sliding : full,
    )
    return { ...config, layers }
  },
  parameters: (shape) => gemmaParameters(shape, { qkNorm: false }),
  block: (x, parts, shape) => gemmaBlock(x, parts, shape, { qkNorm: false }),
  finalNorm: gemmaNorm,
  embeddingScale: ({ hiddenSize }) => Math.sqrt(hiddenSize),
  logits: ({ finalLogitSoftcapping }) => ({ softcap: finalLogitSoftcapping }),
  gguf: GGUF_GEMMA2,
}
