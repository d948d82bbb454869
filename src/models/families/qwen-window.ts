import { type ConfigKeys, flag, integer, present, refuse } from "./config-keys.ts"
import { type DecoderConfig, refuseSlidingWindow } from "./decoder-config.ts"

/**
 * Qwen configs carry a window that is off unless `use_sliding_window` says otherwise, and then holds
 * only for layers from `max_window_layers` on (or those that `layer_types` names).
 * @throws InputError where the window would change a result.
 */
export function refuseSlidingLayers(keys: ConfigKeys, config: DecoderConfig): void {
  const types = keys.values.layer_types
  if (present(keys, "layer_types") && !Array.isArray(types)) {
    refuse(keys, "layer_types", "a list with an entry per layer")
  }
  const named = Array.isArray(types) ? types : []
  const unknown = named.find((t) => t !== "full_attention" && t !== "sliding_attention")
  if (unknown !== undefined) refuse(keys, "layer_types", "full_attention in every layer")
  const on = flag(keys, "use_sliding_window", false)
  const window = present(keys, "sliding_window") || on ? integer(keys, "sliding_window", 4096) : 0
  const firstSliding = integer(keys, "max_window_layers", 28)
  const sliding = Array.isArray(types)
    ? named.includes("sliding_attention")
    : firstSliding < config.numHiddenLayers
  if (on && sliding) refuseSlidingWindow(keys, window, config.maxPositionEmbeddings)
}
