import { integer, present } from "./config-keys.ts"
import { decoderConfig, requireSilu, sameLayers } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { GGUF_LLAMA } from "./gguf-family.ts"
import { llamaBlock, llamaParameters, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"
import { windowed } from "./sliding-layers.ts"

/** What Transformers takes when the key is missing (not when it is null). */
const DEFAULT_SLIDING_WINDOW = 4096

/** `model_type: mistral`: Mistral 7B; v0.1 looks back through a window in every layer. */
export const mistral: Family = {
  about: "Mistral 7B",
  architecture: "MistralForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, { numKeyValueHeads: 8, maxPositionEmbeddings: 131_072 })
    requireSilu(keys)
    const rope = ropeParameters(keys, config)
    const missing = keys.values.sliding_window === undefined
    const layer =
      missing || present(keys, "sliding_window")
        ? windowed(rope, integer(keys, "sliding_window", DEFAULT_SLIDING_WINDOW))
        : { name: "full", rope }
    return { ...config, layers: sameLayers(config.numHiddenLayers, layer) }
  },
  parameters: (shape) => llamaParameters(shape),
  block: (x, parts, shape) => llamaBlock(x, parts, shape),
  finalNorm: rmsNorm,
  gguf: GGUF_LLAMA,
}
