import type { ConfigKeys } from "./config-keys.ts"
import { type DecoderConfig, decoderConfig } from "./decoder-config.ts"
import { refuseSlidingLayers } from "./qwen-window.ts"
import type { DecoderShape } from "./shape.ts"

/** `model_type: qwen2`: Qwen1.5, Qwen2, Qwen2.5, Qwen2.5-Math. q, k and v always have biases. */
export type Qwen2Config = DecoderConfig

/** @throws InputError */
export function qwen2Config(keys: ConfigKeys): Qwen2Config {
  const config = decoderConfig(keys, { numKeyValueHeads: 32 })
  refuseSlidingLayers(keys, config)
  return config
}

export function qwen2Shape({ ropeParameters, ...config }: Qwen2Config): DecoderShape {
  return {
    ...config,
    rope: ropeParameters,
    attentionBias: true,
    attentionOutputBias: false,
    mlpBias: false,
    qkNorm: false,
  }
}
