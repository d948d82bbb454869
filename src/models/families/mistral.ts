import { type ConfigKeys, integer, present } from "./config-keys.ts"
import { type DecoderConfig, decoderConfig, refuseSlidingWindow } from "./decoder-config.ts"
import type { DecoderShape } from "./shape.ts"

/** `model_type: mistral`: Mistral 7B from v0.2 on; v0.1 within its window. */
export interface MistralConfig extends DecoderConfig {
  /** null: full attention. */
  readonly slidingWindow: number | null
}

/** What Transformers takes when the key is missing (not when it is null). */
const DEFAULT_SLIDING_WINDOW = 4096

/** @throws InputError, also for a window shorter than the longest sequence. */
export function mistralConfig(keys: ConfigKeys): MistralConfig {
  const config = decoderConfig(keys, { numKeyValueHeads: 8 })
  const missing = keys.values.sliding_window === undefined
  const slidingWindow =
    missing || present(keys, "sliding_window")
      ? integer(keys, "sliding_window", DEFAULT_SLIDING_WINDOW)
      : null
  if (slidingWindow !== null) {
    refuseSlidingWindow(keys, slidingWindow, config.maxPositionEmbeddings)
  }
  return { ...config, slidingWindow }
}

export function mistralShape({ ropeParameters, ...config }: MistralConfig): DecoderShape {
  const { slidingWindow: _noEffect, ...sizes } = config
  return {
    ...sizes,
    rope: ropeParameters,
    attentionBias: false,
    attentionOutputBias: false,
    mlpBias: false,
    qkNorm: false,
  }
}
