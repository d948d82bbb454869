import { type ConfigKeys, flag } from "./config-keys.ts"
import { type DecoderConfig, decoderConfig } from "./decoder-config.ts"
import type { DecoderShape } from "./shape.ts"

/** `model_type: llama`: Llama 2, 3, 3.1, 3.2, DeepSeekMath and everything that took their form. */
export interface LlamaConfig extends DecoderConfig {
  /** Biases on all four attention projections. */
  readonly attentionBias: boolean
  readonly mlpBias: boolean
}

/** @throws InputError */
export function llamaConfig(keys: ConfigKeys): LlamaConfig {
  return {
    ...decoderConfig(keys),
    attentionBias: flag(keys, "attention_bias", false),
    mlpBias: flag(keys, "mlp_bias", false),
  }
}

export function llamaShape({ ropeParameters, ...config }: LlamaConfig): DecoderShape {
  return {
    ...config,
    rope: ropeParameters,
    attentionOutputBias: config.attentionBias,
    qkNorm: false,
  }
}
