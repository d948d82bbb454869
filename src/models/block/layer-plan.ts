import type { DecoderShape, LayerKind } from "../families/shape.ts"

/** A low-rank update beside a linear layer. */
export interface LoraUpdate {
  readonly rank: number
  /** lora_alpha / r, or lora_alpha / sqrt(r) under rsLoRA. */
  readonly scale: number
}

/** An adapter of low-rank updates beside frozen linear layers. */
export interface LoraInputs {
  /** [L]: each layer's updates, by module. */
  readonly layers: readonly ReadonlyMap<string, LoraUpdate>[]
  /** Probability that an element of an update's input is zeroed while training; 0 if left out. */
  readonly dropout?: number
}

/** The adapter of one layer. */
export interface LayerLora {
  readonly modules: ReadonlyMap<string, LoraUpdate>
  readonly dropout?: number | undefined
}

/** What a layer's graphs are made from. Layers with the same key share them. */
export interface LayerPlan {
  readonly key: string
  readonly kind: LayerKind
  readonly lora: LayerLora | undefined
}

/** [L]: the plan of each layer; layers that are alike have the same one. */
export function layerPlans(shape: DecoderShape, lora: LoraInputs | undefined): LayerPlan[] {
  const plans = new Map<string, LayerPlan>()
  return shape.layers.map((kind, layer) => {
    const modules = lora?.layers[layer]
    const updates = [...(modules ?? [])].map(([module, { rank, scale }]) => [module, rank, scale])
    const key = JSON.stringify([kind.name, updates])
    const known = plans.get(key)
    if (known) return known
    const plan: LayerPlan = {
      key,
      kind,
      lora: modules && { modules, dropout: lora.dropout },
    }
    plans.set(key, plan)
    return plan
  })
}
