import { type ConfigKeys, flag, isObject, refuse } from "./config-keys.ts"
import { decoderConfig, requireSilu } from "./decoder-config.ts"
import type { Family } from "./family.ts"
import { rmsNorm } from "./llama-block.ts"
import { type OlmoShape, olmoBlock, olmoParameters } from "./olmo-block.ts"
import { ropeParameters } from "./rope-config.ts"
import type { LayerKind } from "./shape.ts"
import { layerTypes, slidingWindow, windowed } from "./sliding-layers.ts"

/**
 * One `rope_theta` for all layers: Transformers 4 gave it to both kinds, Transformers 5 gives it to
 * the full ones alone and the others 500000.
 */
function checkFlatTheta(keys: ConfigKeys, usual: number): void {
  const scaling = keys.values.rope_scaling
  const theta = (isObject(scaling) ? scaling.rope_theta : undefined) ?? keys.values.rope_theta
  if ((theta ?? usual) === usual) return
  refuse(
    keys,
    "rope_theta",
    `${usual}, or one in rope_parameters for each of full_attention and sliding_attention (Transformers 4 and 5 read it differently)`,
  )
}

/**
 * `model_type: olmo3`: OLMo 3, three of four layers with a window; only the others are stretched.
 */
export const olmo3: Family<OlmoShape> = {
  about: "OLMo 3",
  architecture: "Olmo3ForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, { rmsNormEps: 1e-5, maxPositionEmbeddings: 2048 })
    requireSilu(keys)
    const theta = 500_000
    const nested = keys.values.rope_parameters
    const layered = isObject(nested) && Object.values(nested).some(isObject)
    const plain = { ...keys, values: { rope_theta: keys.values.rope_theta } }
    const full: LayerKind = {
      name: "full",
      rope: ropeParameters(keys, config, { theta, layerType: "full_attention" }),
    }
    const rope = ropeParameters(layered ? keys : plain, config, {
      theta,
      layerType: "sliding_attention",
    })
    const named = layerTypes(keys, config.numHiddenLayers)
    const sliding = windowed(rope, slidingWindow(keys, named))
    const layers = Array.from({ length: config.numHiddenLayers }, (_, layer) =>
      (named ? named[layer] : (layer + 1) % 4 !== 0) ? sliding : full,
    )
    if (!layered && layers.includes(sliding)) checkFlatTheta(keys, theta)
    return { ...config, layers, attentionBias: flag(keys, "attention_bias", false) }
  },
  parameters: olmoParameters,
  block: olmoBlock,
  finalNorm: rmsNorm,
}
