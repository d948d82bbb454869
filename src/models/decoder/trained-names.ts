import { type LoraInputs, layerPlans } from "../block/layer-plan.ts"
import { adapterShapes } from "../block/packed.ts"
import { layerPrefix, layerTensor, VALUE_HEAD } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"

interface NamesOptions {
  readonly shape: DecoderShape
  readonly weights: ReadonlyMap<string, unknown>
  readonly lora?: LoraInputs | undefined
  readonly frozen?: ReadonlySet<string> | undefined
}

/**
 * Which tensors training changes: the adapter's with what it has whole and a critic's, or all but
 * the frozen.
 */
export function trainedNames({ shape, weights, lora, frozen }: NamesOptions): string[] {
  if (!lora) return [...weights.keys()].filter((name) => !frozen?.has(name))
  const updates = layerPlans(shape, lora).flatMap(({ kind, lora }, layer) =>
    [...adapterShapes({ shape, kind, lora }).keys()].map((name) => layerPrefix(layer) + name),
  )
  const critic = weights.has(VALUE_HEAD) ? [VALUE_HEAD] : []
  return [...updates, ...(lora.whole ?? []), ...critic]
}

/** The first layer with a tensor that trains; past the last where none has. */
export function lowestTrained(
  { numHiddenLayers }: DecoderShape,
  gradients: ReadonlyMap<string, unknown>,
): number {
  const layers = [...gradients.keys()].map((name) => layerTensor(name)?.layer ?? numHiddenLayers)
  return Math.min(...layers)
}
