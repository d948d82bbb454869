import { assert } from "../../errors.ts"
import { type DeviceTensor, float32, type HostTensor } from "../../runtime/index.ts"
import { doraNames, firstMagnitudes, rowSquares } from "../block/dora.ts"
import type { LoraInputs } from "../block/layer-plan.ts"
import { quantizedNames, type WeightQuantization } from "../block/packed.ts"
import { layerPrefix, linearLayers } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"
import { dequantizeTensors } from "./quantize.ts"

interface Held {
  readonly shape: DecoderShape
  readonly lora?: LoraInputs | undefined
  readonly weights: ReadonlyMap<string, HostTensor | DeviceTensor>
  readonly quantization?: WeightQuantization | undefined
}

/** The paths of the modules under DoRA, with their sizes. */
export function doraModules(shape: DecoderShape, lora: LoraInputs | undefined) {
  return (lora?.layers ?? []).flatMap((modules, layer) => {
    const linears = linearLayers(shape, shape.layers[layer]!)
    return [...modules]
      .filter(([, { dora }]) => dora)
      .map(([module]) => ({ ...linears.get(module)!, path: layerPrefix(layer) + module }))
  })
}

/**
 * What DoRA needs of a base and was not given: the squared lengths of its rows, and from them the
 * magnitudes of an adapter that has none yet.
 */
export function doraTensors({ shape, lora, weights, quantization }: Held): Map<string, HostTensor> {
  const made = new Map<string, HostTensor>()
  for (const { path, inFeatures, outFeatures } of doraModules(shape, lora)) {
    const names = doraNames(path)
    const known = weights.get(names.squares) as HostTensor | undefined
    const squares =
      (known?.data as Float32Array | undefined) ??
      rowSquares(
        baseMatrix(weights, `${path}.weight`, outFeatures * inFeatures, quantization),
        outFeatures,
      )
    if (!known) made.set(names.squares, float32([outFeatures], squares))
    if (weights.has(names.magnitude)) continue
    made.set(names.magnitude, float32([outFeatures], firstMagnitudes(squares)))
  }
  return made
}

/** A matrix as it is multiplied with: where it is held as codes, what they stand for. */
function baseMatrix(
  weights: Held["weights"],
  name: string,
  size: number,
  quantization: WeightQuantization | undefined,
): Float32Array {
  const plain = weights.get(name)
  if (plain) {
    assert(plain.data, `${name} is packed: its rows' lengths are taken before that`)
    return plain.data as Float32Array
  }
  const { codes, scales, zeros } = quantizedNames(name)
  const host = (name: string) => weights.get(name) as HostTensor
  const tensors = { codes: host(codes), scales: host(scales), zeros: host(zeros) }
  assert(quantization, `a decoder without ${name}`)
  return dequantizeTensors(tensors, quantization, new Float32Array(size))
}
