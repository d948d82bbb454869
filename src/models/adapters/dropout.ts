import { float32, type HostTensor } from "../../runtime/index.ts"
import type { LayerPlan } from "../block/layer-plan.ts"
import { dropoutName } from "../block/packed.ts"
import { linearLayers } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"

/** 32 bits that look random, from one 32-bit number (the finaliser of MurmurHash3). */
function hash(value: number): number {
  let h = value | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/**
 * The dropout masks of one layer's adapter, by input name: f32 [T, in], 0 with the dropout's
 * probability and else 1 / (1 - probability). The same seed and layer give the same masks, so the
 * backward makes them again instead of keeping them.
 */
export function dropoutMasks(
  shape: DecoderShape,
  { kind, lora }: Pick<LayerPlan, "kind" | "lora">,
  {
    seed,
    layer,
    tokens,
  }: { readonly seed: number; readonly layer: number; readonly tokens: number },
): Map<string, HostTensor> {
  const masks = new Map<string, HostTensor>()
  if (!lora?.dropout) return masks
  const linears = linearLayers(shape, kind)
  const limit = lora.dropout * 2 ** 32
  const kept = 1 / (1 - lora.dropout)
  let module = 0
  for (const name of lora.modules.keys()) {
    const { inFeatures } = linears.get(name)!
    const data = new Float32Array(tokens * inFeatures)
    const start = hash(hash(hash(seed) + layer) + module++)
    for (let i = 0; i < data.length; i++) data[i] = hash(start + i) < limit ? 0 : kept
    masks.set(dropoutName(name), float32([tokens, inFeatures], data))
  }
  return masks
}

/**
 * NEFTune's noise (arXiv 2310.05914), f32 [T, C]: uniform within alpha / sqrt(L C) of a sequence of
 * L tokens; filling rows have none. A number depends on the seed and its place.
 */
export function embeddingNoise(
  lengths: readonly number[],
  [tokens, columns]: readonly [number, number],
  { alpha, seed }: { readonly alpha: number; readonly seed: number },
): Float32Array {
  const noise = new Float32Array(tokens * columns)
  const start = hash(hash(seed) ^ 0x4e454654) // another stream than dropout's
  let at = 0
  for (const length of lengths) {
    const bound = alpha / Math.sqrt(length * columns)
    for (const end = at + length * columns; at < end; at++) {
      noise[at] = (hash(start + at) / 2 ** 31 - 1) * bound
    }
  }
  return noise
}
