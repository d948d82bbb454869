import { type ConfigKeys, flag, integer, present, refuse } from "./config-keys.ts"
import { type DecoderConfig, sameLayers } from "./decoder-config.ts"
import type { LayerKind, Rope } from "./shape.ts"

/** A layer whose tokens see themselves and the `window - 1` before them. */
export const windowed = (rope: Rope | undefined, window: number): LayerKind => ({
  name: "sliding",
  rope,
  window,
})

const FULL = "full_attention"
const SLIDING = "sliding_attention"

/**
 * `layer_types`, an entry per layer: which of them look back through a window. undefined where the
 * config does not say.
 * @throws InputError for a kind of layer that is neither full nor sliding attention
 */
export function layerTypes(keys: ConfigKeys, layers: number): boolean[] | undefined {
  if (!present(keys, "layer_types")) return undefined
  const types = keys.values.layer_types
  if (!Array.isArray(types)) return refuse(keys, "layer_types", "a list with an entry per layer")
  const valid = types.length === layers && types.every((t) => t === FULL || t === SLIDING)
  if (!valid) {
    refuse(keys, "layer_types", `"${FULL}" or "${SLIDING}" for each of ${layers} layers`)
  }
  return types.map((type) => type === SLIDING)
}

/**
 * The window of a family whose layers slide unless `layer_types` names none that does; null is
 * refused then, as Transformers cannot compute it either.
 */
export function slidingWindow(keys: ConfigKeys, named: boolean[] | undefined): number {
  const isNull = keys.values.sliding_window === null && named?.includes(true) !== false
  return integer(keys, "sliding_window", isNull ? undefined : USUAL_WINDOW)
}

const USUAL_WINDOW = 4096

/**
 * Qwen configs carry a window that is off unless `use_sliding_window` says otherwise, and then
 * holds only for layers from `max_window_layers` on (or those that `layer_types` names). A
 * `sliding_window` of null is none, as in Transformers; where the key is missing it is 4096.
 */
export function qwenLayers(keys: ConfigKeys, config: DecoderConfig, rope: Rope): LayerKind[] {
  const { numHiddenLayers } = config
  const named = layerTypes(keys, numHiddenLayers)
  const full: LayerKind = { name: "full", rope }
  const isNull = keys.values.sliding_window === null
  const isOff = !flag(keys, "use_sliding_window", false) || (isNull && !named?.includes(true))
  if (isOff) return sameLayers(numHiddenLayers, full)
  const sliding = windowed(rope, slidingWindow(keys, named))
  const first = keys.values.max_window_layers === 0 ? 0 : integer(keys, "max_window_layers", 28)
  return Array.from({ length: numHiddenLayers }, (_, layer) =>
    (named ? named[layer] : layer >= first) ? sliding : full,
  )
}
