import { assert } from "../../errors.ts"
import type { LoraUpdate } from "../block/layer-plan.ts"
import { layerPrefix } from "../block/parameters.ts"
import type { DecoderShape, TensorSource } from "../families/shape.ts"
import { heldTensors, type LoraSpec, loraInputs, loraName, magnitudeName } from "./lora.ts"

/**
 * A module's part of an adapter: a [rank, in], b [out, rank], of DoRA magnitude [out], all row
 * major.
 */
export interface ModuleTensors {
  readonly a: Float32Array
  readonly b: Float32Array
  readonly magnitude?: Float32Array | undefined
}

/**
 * weight += scale * B A, in place; under DoRA each row is then made as long as its magnitude.
 * weight [out, in].
 */
export function mergeLora(
  weight: Float32Array,
  { a, b, magnitude }: ModuleTensors,
  { rank, scale }: LoraUpdate,
): void {
  const inFeatures = a.length / rank
  const outFeatures = b.length / rank
  assert(weight.length === outFeatures * inFeatures, "mergeLora: A and B do not fit the weight")
  const delta = new Float64Array(inFeatures)
  for (let o = 0; o < outFeatures; o++) {
    delta.fill(0)
    for (let k = 0; k < rank; k++) {
      const factor = scale * b[o * rank + k]!
      const row = k * inFeatures
      for (let i = 0; i < inFeatures; i++) delta[i]! += factor * a[row + i]!
    }
    const row = weight.subarray(o * inFeatures, (o + 1) * inFeatures)
    for (let i = 0; i < inFeatures; i++) delta[i]! += row[i]!
    const length = magnitude ? Math.sqrt(delta.reduce((sum, w) => sum + w * w, 0)) : 1
    const gain = magnitude && length > 0 ? magnitude[o]! / length : 1
    for (let i = 0; i < inFeatures; i++) row[i] = gain * delta[i]!
  }
}

/** What is added to the base's weights, by their names in the checkpoint. */
function weightUpdates(
  adapter: ReadonlyMap<string, Float32Array>,
  spec: LoraSpec,
): ReadonlyMap<string, ModuleTensors & { readonly update: LoraUpdate }> {
  const tensor = (name: string): Float32Array => {
    const found = adapter.get(name)
    assert(found, `an adapter without ${name}`)
    return found
  }
  return new Map(
    loraInputs(spec).layers.flatMap((modules, layer) =>
      [...modules].map(([module, update]) => {
        const a = tensor(loraName(layer, module, "A"))
        const b = tensor(loraName(layer, module, "B"))
        const magnitude = update.dora ? tensor(magnitudeName(layer, module)) : undefined
        return [`${layerPrefix(layer)}${module}.weight`, { a, b, magnitude, update }] as const
      }),
    ),
  )
}

/**
 * Folds an adapter into the base weights, in place, one matrix at a time; saved modules take their
 * places.
 * @param weights by the checkpoint's names, float32; save them in the checkpoint's own dtype
 */
export function mergeAdapter(
  weights: Map<string, Float32Array>,
  adapter: ReadonlyMap<string, Float32Array>,
  { spec, shape }: { readonly spec: LoraSpec; readonly shape: DecoderShape },
): void {
  for (const [name, values] of heldTensors(adapter, shape)) {
    if (spec.saved.tensors.has(name)) weights.set(name, values)
  }
  for (const [name, { update, ...parts }] of weightUpdates(adapter, spec)) {
    const weight = weights.get(name)
    assert(weight, `mergeAdapter: no tensor ${name}`)
    mergeLora(weight, parts, update)
  }
}

/**
 * As {@link mergeAdapter}, for tensors that are read when their turn comes: each is merged as it is
 * read, and no more than one is held.
 */
export function mergedTensors(
  tensors: readonly TensorSource[],
  adapter: ReadonlyMap<string, Float32Array>,
  { spec, shape }: { readonly spec: LoraSpec; readonly shape: DecoderShape },
): TensorSource[] {
  const updates = weightUpdates(adapter, spec)
  const held = heldTensors(adapter, shape)
  return tensors.map((tensor) => {
    if (spec.saved.tensors.has(tensor.name)) {
      return { ...tensor, read: async () => held.get(tensor.name)! }
    }
    const merged = updates.get(tensor.name)
    if (!merged) return tensor
    const read = async () => {
      const weight = await tensor.read()
      mergeLora(weight, merged, merged.update)
      return weight
    }
    return { ...tensor, read }
  })
}
