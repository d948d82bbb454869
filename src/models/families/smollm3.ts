import { flag, integer, present, refuse } from "./config-keys.ts"
import { decoderConfig, requireSilu } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { GGUF_SMOLLM3 } from "./gguf-family.ts"
import { type BiasedShape, biasedParameters, llamaBlock, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"
import type { LayerKind } from "./shape.ts"
import { layerTypes } from "./sliding-layers.ts"

/** `model_type: smollm3`: a Llama in which every fourth layer has no rotary embedding. */
export const smollm3: Family<BiasedShape> = {
  about: "SmolLM3",
  architecture: "SmolLM3ForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, {
      numKeyValueHeads: 4,
      tieWordEmbeddings: true,
      maxPositionEmbeddings: 32768,
    })
    requireSilu(keys)
    const rope = ropeParameters(keys, config, { theta: 2_000_000 })
    const count = config.numHiddenLayers
    const every = integer(keys, "no_rope_layer_interval", 4)
    const listed = keys.values.no_rope_layers ?? undefined
    const valid =
      listed === undefined ||
      (Array.isArray(listed) && listed.length >= count && listed.every((x) => x === 0 || x === 1))
    if (!valid) refuse(keys, "no_rope_layers", `a list of 0 and 1 for each of ${count} layers`)
    const turns = (layer: number) =>
      Array.isArray(listed) ? listed[layer] === 1 : (layer + 1) % every !== 0

    const named = layerTypes(keys, count)
    // Transformers masks what layer_types calls sliding whatever use_sliding_window says
    const isOn =
      named?.includes(true) ||
      (flag(keys, "use_sliding_window", false) && present(keys, "sliding_window"))
    const window = isOn ? integer(keys, "sliding_window") : undefined
    const layers = Array.from({ length: count }, (_, layer): LayerKind => {
      const isSliding = window !== undefined && (named ? named[layer] : !turns(layer))
      return {
        name: `${turns(layer) ? "" : "no rope, "}${isSliding ? "sliding" : "full"}`,
        rope: turns(layer) ? rope : undefined,
        ...(isSliding ? { window } : {}),
      }
    })
    return {
      ...config,
      layers,
      attentionBias: flag(keys, "attention_bias", false),
      mlpBias: flag(keys, "mlp_bias", false),
    }
  },
  parameters: biasedParameters,
  block: (x, parts, shape) => llamaBlock(x, parts, shape),
  finalNorm: rmsNorm,
  gguf: GGUF_SMOLLM3,
}
