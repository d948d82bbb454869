/**
 * PiSSA (arXiv 2404.02948): an adapter begins as the largest singular values of what it adapts, and
 * the base beside it is what is left of it. Saved it is an update of the whole base again, of twice
 * the rank.
 */
import { InputError } from "../../errors.ts"
import { randomStream } from "../../random.ts"
import type { Device } from "../../runtime/index.ts"
import { layerPrefix, linearLayers } from "../block/parameters.ts"
import type { DecoderShape, TensorSource } from "../families/shape.ts"
import { decoderName, type LoraSpec, loraName, loraScale } from "./lora.ts"
import { type ModuleTensors, mergeLora } from "./merge.ts"
import { PrincipalDirections } from "./principal.ts"

/** A and B as an adapter began, by the names under which a decoder holds them. */
export type AdapterStart = ReadonlyMap<string, Float32Array>

interface Adapted {
  readonly shape: DecoderShape
  readonly spec: LoraSpec
}

interface AdaptedModule {
  /** Of its weight. */
  readonly name: string
  readonly a: string
  readonly b: string
  readonly rank: number
  readonly scale: number
  readonly inFeatures: number
  readonly outFeatures: number
}

function adaptedModules({ shape, spec }: Adapted): AdaptedModule[] {
  return spec.layers.flatMap((modules, layer) => {
    const linears = linearLayers(shape, shape.layers[layer]!)
    return [...modules].map(([module, of]) => {
      const { inFeatures, outFeatures } = linears.get(module)!
      return {
        name: `${layerPrefix(layer)}${module}.weight`,
        a: decoderName(loraName(layer, module, "A")),
        b: decoderName(loraName(layer, module, "B")),
        ...{ rank: of.rank, scale: loraScale(of, spec), inFeatures, outFeatures },
      }
    })
  })
}

/**
 * A = diag(S / s)^1/2 V^T and B = U diag(S / s)^1/2 of each matrix, as PEFT has it: s B A is the
 * part of the matrix with its largest singular values.
 *
 * @throws InputError for a rank above what a matrix has
 */
export async function principalStart(
  { shape, spec }: Adapted,
  {
    device,
    read,
    seed,
    signal,
    onProgress,
  }: {
    readonly device: Device
    readonly read: (name: string) => Promise<Float32Array>
    readonly seed: number
    readonly signal?: AbortSignal | undefined
    readonly onProgress?: (done: number, all: number) => void
  },
): Promise<AdapterStart> {
  const start = new Map<string, Float32Array>()
  const directions = new PrincipalDirections(device)
  const modules = adaptedModules({ shape, spec })
  try {
    for (const [done, module] of modules.entries()) {
      signal?.throwIfAborted()
      const { name, rank, scale, inFeatures, outFeatures } = module
      if (rank > Math.min(inFeatures, outFeatures)) {
        throw new InputError(
          `adapter: init_lora_weights: pissa: r is ${rank}, and ${name} [${outFeatures}, ${inFeatures}] has ${Math.min(inFeatures, outFeatures)} singular values; lower r, or give it one of its own in rank_pattern`,
        )
      }
      const size = { outFeatures, inFeatures, rank }
      const found = await directions.of(await read(name), size, randomStream(seed, name))
      const a = new Float32Array(rank * inFeatures)
      const b = new Float32Array(outFeatures * rank)
      for (const [k, value] of found.values.entries()) {
        const share = Math.sqrt(value / scale)
        found.right[k]!.forEach((x, i) => {
          a[k * inFeatures + i] = share * x
        })
        found.left[k]!.forEach((x, o) => {
          b[o * rank + k] = share * x
        })
      }
      start.set(module.a, a).set(module.b, b)
      onProgress?.(done + 1, modules.length)
    }
  } finally {
    await directions.release()
  }
  return start
}

/** Takes from a matrix of the base what the adapter begins with, in place. */
export function baseBeside(adapted: Adapted, start: AdapterStart) {
  const modules = new Map(adaptedModules(adapted).map((module) => [module.name, module]))
  return (name: string, weight: Float32Array): void => {
    const module = modules.get(name)
    if (!module) return
    const parts: ModuleTensors = { a: start.get(module.a)!, b: start.get(module.b)! }
    mergeLora(weight, parts, { rank: module.rank, scale: -module.scale })
  }
}

/**
 * The adapter over the whole base that one over {@link baseBeside} stands for: of twice the rank.
 */
export function startSubtracted(spec: LoraSpec): LoraSpec {
  // s = alpha / r, or alpha / sqrt(r), stays
  const more = spec.useRslora ? Math.SQRT2 : 2
  const scaled = (values: Readonly<Record<string, number>> = {}, by: number) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, value * by]))
  const { options } = spec
  const numbers = { loraRank: 2 * spec.loraRank, loraAlpha: more * spec.loraAlpha }
  return {
    ...spec,
    ...numbers,
    layers: spec.layers.map(
      (modules) =>
        new Map(
          [...modules].map(([module, { rank, alpha }]) => [
            module,
            { rank: 2 * rank, alpha: more * alpha },
          ]),
        ),
    ),
    options: {
      ...options,
      ...numbers,
      rankPattern: scaled(options.rankPattern, 2),
      alphaPattern: scaled(options.alphaPattern, more),
    },
  }
}

/** Its tensors: A above the A that it began with, B beside minus the B that it began with. */
export function subtractedTensors(
  tensors: readonly TensorSource[],
  adapted: Adapted,
  start: AdapterStart,
): TensorSource[] {
  const ranks = new Map(adaptedModules(adapted).map(({ b, rank }) => [b, rank]))
  return tensors.map((tensor) => {
    const own = decoderName(tensor.name)
    const first = start.get(own)
    if (!first) return tensor
    const [rows, columns] = tensor.shape as [number, number]
    const rank = ranks.get(own)
    if (rank === undefined) {
      const read = async () => joined(await tensor.read(), first)
      return { ...tensor, shape: [2 * rows, columns], read }
    }
    const read = async () => beside(await tensor.read(), first, rank)
    return { ...tensor, shape: [rows, 2 * columns], read }
  })
}

function joined(above: Float32Array, below: Float32Array): Float32Array {
  const whole = new Float32Array(above.length + below.length)
  whole.set(above)
  whole.set(below, above.length)
  return whole
}

/** [rows, 2 rank]: b, then -first. */
function beside(b: Float32Array, first: Float32Array, rank: number): Float32Array {
  const whole = new Float32Array(2 * b.length)
  for (let row = 0; row < b.length / rank; row++) {
    for (let k = 0; k < rank; k++) {
      whole[2 * row * rank + k] = b[row * rank + k]!
      whole[2 * row * rank + rank + k] = -first[row * rank + k]!
    }
  }
  return whole
}
