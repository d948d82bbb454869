import { InputError } from "../../errors.ts"
import { layerPrefix, linearLayers } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"
import { type LoraSpec, loraName, loraScale, type ModuleLora } from "./lora.ts"
import { NO_SAVED_MODULES } from "./saved-modules.ts"

/** An adapter and how much of it is wanted. */
export interface WeightedAdapter {
  readonly spec: LoraSpec
  /** By PEFT's names. */
  readonly tensors: ReadonlyMap<string, Float32Array>
  readonly weight: number
  /** For errors. */
  readonly where: string
}

/**
 * Several adapters over one base as one, exactly: the sum of w_i s_i B_i A_i is the product of B_i
 * beside each other, each times w_i s_i, and A_i below each other (PEFT's `cat`). Its scale is 1.
 *
 * @throws InputError where one is DoRA, or trained modules of the base whole: those do not add up
 */
export function combinedAdapter(
  adapters: readonly WeightedAdapter[],
  shape: DecoderShape,
): { readonly spec: LoraSpec; readonly tensors: Map<string, Float32Array> } {
  for (const { spec, where } of adapters) {
    if (spec.useDora) {
      throw new InputError(
        `${where}: is a DoRA adapter, whose magnitudes do not add up with another adapter; merge it first (dftune export ${where} --to merged), and train the other over the result`,
      )
    }
    if (spec.saved.tensors.size === 0) continue
    throw new InputError(
      `${where}: holds whole modules of the base (${spec.saved.names.join(", ")}), which cannot be added to another adapter; merge it first, and train the other over the result`,
    )
  }
  const tensors = new Map<string, Float32Array>()
  const layers = shape.layers.map((kind, layer): ReadonlyMap<string, ModuleLora> => {
    const found = new Map<string, ModuleLora>()
    for (const [module, { outFeatures }] of linearLayers(shape, kind)) {
      const parts = adapters.filter(({ spec }) => spec.layers[layer]!.has(module))
      if (parts.length === 0) continue
      const rank = parts.reduce((sum, { spec }) => sum + spec.layers[layer]!.get(module)!.rank, 0)
      found.set(module, { rank, alpha: rank })
      const [a, b] = [loraName(layer, module, "A"), loraName(layer, module, "B")]
      tensors.set(a, joined(parts.map(({ tensors }) => tensors.get(a)!)))
      tensors.set(b, columns(parts, { layer, module, name: b, rows: outFeatures, rank }))
    }
    return found
  })
  return { spec: specOf(layers), tensors }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** [rows, rank]: each adapter's B beside the others', times its weight and scale. */
function columns(
  parts: readonly WeightedAdapter[],
  {
    layer,
    module,
    name,
    rows,
    rank,
  }: {
    readonly layer: number
    readonly module: string
    readonly name: string
    readonly rows: number
    readonly rank: number
  },
): Float32Array {
  const whole = new Float32Array(rows * rank)
  let left = 0
  for (const { spec, tensors, weight } of parts) {
    const own = spec.layers[layer]!.get(module)!
    const by = weight * loraScale(own, spec)
    const b = tensors.get(name)!
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < own.rank; k++) {
        whole[row * rank + left + k] = by * b[row * own.rank + k]!
      }
    }
    left += own.rank
  }
  return whole
}

/** Its modules by their whole paths, and ranks of their own where they differ from the first's. */
function specOf(layers: readonly ReadonlyMap<string, ModuleLora>[]): LoraSpec {
  const each = layers.flatMap((modules, layer) =>
    [...modules].map(([module, { rank }]) => [layerPrefix(layer) + module, rank] as const),
  )
  const loraRank = each[0]![1]
  const others = each
    .filter(([, rank]) => rank !== loraRank)
    .map(([path, rank]) => [path.replaceAll(".", "\\."), rank] as const)
  const pattern = Object.fromEntries(others)
  const options = {
    ...{ loraRank, loraAlpha: loraRank, targetModules: each.map(([path]) => path) },
    ...{ rankPattern: pattern, alphaPattern: pattern },
  }
  const plain = { loraRank, loraAlpha: loraRank, loraDropout: 0, useRslora: false, useDora: false }
  return { ...plain, layers, saved: NO_SAVED_MODULES, options }
}
