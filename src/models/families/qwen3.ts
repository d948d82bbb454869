import { type ConfigKeys, flag } from "./config-keys.ts"
import { type DecoderConfig, decoderConfig } from "./decoder-config.ts"
import { refuseSlidingLayers } from "./qwen-window.ts"
import type { DecoderShape } from "./shape.ts"

/** `model_type: qwen3`: dense Qwen3, with a norm over each head of q and k. */
export interface Qwen3Config extends DecoderConfig {
  /** Biases on all four attention projections. */
  readonly attentionBias: boolean
}

/** @throws InputError */
export function qwen3Config(keys: ConfigKeys): Qwen3Config {
  const config = decoderConfig(keys, { headDim: 128, numKeyValueHeads: 32 })
  refuseSlidingLayers(keys, config)
  return { ...config, attentionBias: flag(keys, "attention_bias", false) }
}

export function qwen3Shape({ ropeParameters, ...config }: Qwen3Config): DecoderShape {
  return {
    ...config,
    rope: ropeParameters,
    attentionOutputBias: config.attentionBias,
    mlpBias: false,
    qkNorm: true,
  }
}
