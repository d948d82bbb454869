import type { DecoderShape, LayerKind } from "../families/shape.ts"
import { layerPrefix } from "./parameters.ts"

/** A low-rank update beside a linear layer. */
export interface LoraUpdate {
  readonly rank: number
  /** lora_alpha / r, or lora_alpha / sqrt(r) under rsLoRA. */
  readonly scale: number
  /** The layer's outputs are scaled to magnitudes of their own (DoRA). */
  readonly dora?: boolean
}

/** An adapter of low-rank updates beside frozen linear layers. */
export interface LoraInputs {
  /** [L]: each layer's updates, by module. */
  readonly layers: readonly ReadonlyMap<string, LoraUpdate>[]
  /** Probability that an element of an update's input is zeroed while training; 0 if left out. */
  readonly dropout?: number
  /** Tensors of the base that train whole beside it, by the checkpoint's names. */
  readonly whole?: ReadonlySet<string>
}

/** The adapter of one layer. */
export interface LayerLora {
  readonly modules: ReadonlyMap<string, LoraUpdate>
  readonly dropout?: number | undefined
  /** The layer's tensors that train whole, by their names below it. */
  readonly whole?: ReadonlySet<string>
}

/** What a layer's graphs are made from. Layers with the same key share them. */
export interface LayerPlan {
  readonly key: string
  readonly kind: LayerKind
  readonly lora: LayerLora | undefined
  /** Without an adapter: the layer's tensors that do not train, by their names below it. */
  readonly frozen?: ReadonlySet<string>
}

/** Of tensors by the checkpoint's names, those of a layer, by their names below it. */
function ofLayer(names: ReadonlySet<string> | undefined, layer: number): string[] {
  const prefix = layerPrefix(layer)
  return [...(names ?? [])]
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
}

/** [L]: the plan of each layer; layers that are alike have the same one. */
export function layerPlans(
  shape: DecoderShape,
  lora: LoraInputs | undefined,
  frozen?: ReadonlySet<string>,
): LayerPlan[] {
  const plans = new Map<string, LayerPlan>()
  return shape.layers.map((kind, layer) => {
    const modules = lora?.layers[layer]
    const updates = [...(modules ?? [])].map(([module, { rank, scale, dora }]) => [
      ...[module, rank, scale],
      ...(dora ? ["dora"] : []),
    ])
    const whole = ofLayer(lora?.whole, layer)
    const still = ofLayer(frozen, layer)
    const key = JSON.stringify([kind.name, updates, whole, still])
    const known = plans.get(key)
    if (known) return known
    const plan: LayerPlan = {
      key,
      kind,
      lora: modules && { modules, dropout: lora.dropout, whole: new Set(whole) },
      frozen: new Set(still),
    }
    plans.set(key, plan)
    return plan
  })
}
