import { MICRO_BATCH_TOKENS, type OnnxEngineConfig } from "../config/schema.ts"
import { type DecoderShape, layerKinds, linearLayers } from "../models/index.ts"

/**
 * Multiplications of one block that make its fixed costs (calls, copies of small arrays) a
 * hundredth or so of them on two cores.
 */
const ENOUGH = 1e9
/** Fewer were not measured; as many are as fast by the token as 1,024 (docs/log.md, 2026-11-26). */
const LEAST = 256
/** Codes become weights once a product: that too must be a small part of it. */
const LEAST_QUANTIZED = 1024
/** A graph of more takes long to compile, for each size of a pack. */
export const MOST_CHOSEN = 1024

/**
 * Tokens of a micro-batch where the config leaves them to us: activations take memory by the token,
 * and past the point where a block's fixed costs are small, more tokens gain nothing.
 */
export function chosenMicroBatchTokens(
  shape: DecoderShape,
  {
    device,
    quantized,
  }: { readonly device: OnnxEngineConfig["device"]; readonly quantized: boolean },
): number {
  if (device === "webgpu" || typeof device === "object") return MICRO_BATCH_TOKENS
  const weights = Math.max(
    ...layerKinds(shape).map((kind) =>
      [...linearLayers(shape, kind).values()].reduce(
        (sum, { outFeatures, inFeatures }) => sum + outFeatures * inFeatures,
        0,
      ),
    ),
  )
  const least = quantized ? LEAST_QUANTIZED : LEAST
  const wanted = 2 ** Math.ceil(Math.log2(ENOUGH / weights))
  return Math.min(MOST_CHOSEN, Math.max(least, wanted))
}
