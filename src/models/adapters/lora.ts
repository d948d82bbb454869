import { assert, InputError } from "../../errors.ts"
import { randomStream } from "../../random.ts"
import {
  LINEAR_MODULES,
  type LinearModule,
  layerPrefix,
  linearShapes,
} from "../block/parameters.ts"
import type { DecoderShape, Parameter, TensorSource } from "../families/shape.ts"

/** A low-rank adapter (Hu et al., arXiv 2106.09685): y = W x + scale * B A dropout(x). */
export interface LoraSpec {
  readonly loraRank: number
  readonly loraAlpha: number
  /** Probability that an input element of A is zeroed while training. */
  readonly loraDropout: number
  /** scale = alpha / sqrt(rank) instead of alpha / rank (arXiv 2312.03732). */
  readonly useRslora: boolean
  /** In the checkpoint's order, each once. */
  readonly targetModules: readonly LinearModule[]
}

export interface LoraOptions {
  readonly loraRank: number
  readonly loraAlpha: number
  readonly loraDropout?: number
  readonly useRslora?: boolean
  /** `all-linear`, or module names as PEFT matches them: whole, or from a dot on (`q_proj`, `mlp.up_proj`). */
  readonly targetModules?: "all-linear" | readonly string[]
}

const matches = (module: LinearModule, name: string): boolean =>
  module === name || module.endsWith(`.${name}`)

/** @throws InputError naming a module that is no linear layer of a block. */
function resolveTargets(targets: "all-linear" | readonly string[], where: string): LinearModule[] {
  if (targets === "all-linear") return [...LINEAR_MODULES]
  const stray = targets.find((name) => !LINEAR_MODULES.some((module) => matches(module, name)))
  if (stray !== undefined || targets.length === 0) {
    const names = LINEAR_MODULES.map((module) => module.split(".")[1]).join(", ")
    const came = stray === undefined ? "an empty list" : JSON.stringify(stray)
    throw new InputError(
      `${where}: expected "target_modules" to be all-linear or names among ${names}, got ${came}`,
    )
  }
  return LINEAR_MODULES.filter((module) => targets.some((name) => matches(module, name)))
}

/**
 * Checks the options of an adapter.
 * @param where the file or config they come from, for errors
 * @throws InputError
 */
export function loraSpec(
  {
    loraRank,
    loraAlpha,
    loraDropout = 0,
    useRslora = false,
    targetModules = "all-linear",
  }: LoraOptions,
  where = "adapter",
): LoraSpec {
  if (!Number.isInteger(loraRank) || loraRank < 1 || loraRank > 4096) {
    throw new InputError(`${where}: expected "r" to be a whole number from 1, got ${loraRank}`)
  }
  if (!Number.isFinite(loraAlpha) || loraAlpha <= 0) {
    throw new InputError(`${where}: expected "lora_alpha" to be above 0, got ${loraAlpha}`)
  }
  if (!(loraDropout >= 0 && loraDropout < 1)) {
    throw new InputError(
      `${where}: expected "lora_dropout" to be from 0 to below 1, got ${loraDropout}`,
    )
  }
  const targets = resolveTargets(targetModules, where)
  return { loraRank, loraAlpha, loraDropout, useRslora, targetModules: targets }
}

export function loraScale({ loraRank, loraAlpha, useRslora }: LoraSpec): number {
  return loraAlpha / (useRslora ? Math.sqrt(loraRank) : loraRank)
}

/** PEFT's names carry the wrapper's path; below it they are the decoder's. */
export function decoderName(peftName: string): string {
  return peftName.replace(/^base_model\.model\./, "")
}

/** PEFT's names: the base parameter's path under `base_model.model.`, then the factor. */
export function loraName(layer: number, module: LinearModule, factor: "A" | "B"): string {
  return `base_model.model.${layerPrefix(layer)}${module}.lora_${factor}.weight`
}

/** The adapter's tensors: A is [rank, in], B is [out, rank]. */
export function loraParameters(shape: DecoderShape, spec: LoraSpec): Parameter[] {
  const linears = linearShapes(shape)
  const layers = Array.from({ length: shape.numHiddenLayers }, (_, layer) => layer)
  return layers.flatMap((layer) =>
    spec.targetModules.flatMap((module): Parameter[] => [
      { name: loraName(layer, module, "A"), shape: [spec.loraRank, linears[module].inFeatures] },
      { name: loraName(layer, module, "B"), shape: [linears[module].outFeatures, spec.loraRank] },
    ]),
  )
}

/**
 * A new adapter as PEFT starts one: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt(5)), B zero, so
 * that the model is unchanged. A tensor's numbers depend on the seed and its name only.
 */
export function initialLora(
  shape: DecoderShape,
  spec: LoraSpec,
  seed: number,
): Map<string, Float32Array> {
  const entries = loraParameters(shape, spec).map(({ name, shape: [rows, columns] }) => {
    const values = new Float32Array(rows! * columns!)
    if (name.endsWith("lora_A.weight")) {
      const random = randomStream(seed, name)
      const bound = 1 / Math.sqrt(columns!)
      for (let i = 0; i < values.length; i++) values[i] = (2 * random() - 1) * bound
    }
    return [name, values] as const
  })
  return new Map(entries)
}

/** weight += scale * B A, in place. weight [out, in], a [rank, in], b [out, rank], all row major. */
export function mergeLora(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { loraRank, scale }: { readonly loraRank: number; readonly scale: number },
): void {
  const inFeatures = a.length / loraRank
  const outFeatures = b.length / loraRank
  assert(weight.length === outFeatures * inFeatures, "mergeLora: A and B do not fit the weight")
  const delta = new Float64Array(inFeatures)
  for (let o = 0; o < outFeatures; o++) {
    delta.fill(0)
    for (let k = 0; k < loraRank; k++) {
      const factor = scale * b[o * loraRank + k]!
      const row = k * inFeatures
      for (let i = 0; i < inFeatures; i++) delta[i]! += factor * a[row + i]!
    }
    for (let i = 0; i < inFeatures; i++) weight[o * inFeatures + i]! += delta[i]!
  }
}

/**
 * Folds an adapter into the base weights, in place, one layer's matrix at a time.
 * @param weights by the checkpoint's names, float32; save them in the checkpoint's own dtype
 */
export function mergeAdapter(
  weights: ReadonlyMap<string, Float32Array>,
  adapter: ReadonlyMap<string, Float32Array>,
  shape: DecoderShape,
  spec: LoraSpec,
): void {
  const tensor = (from: ReadonlyMap<string, Float32Array>, name: string): Float32Array => {
    const found = from.get(name)
    assert(found, `mergeAdapter: no tensor ${name}`)
    return found
  }
  const options = { loraRank: spec.loraRank, scale: loraScale(spec) }
  for (let layer = 0; layer < shape.numHiddenLayers; layer++) {
    for (const module of spec.targetModules) {
      const a = tensor(adapter, loraName(layer, module, "A"))
      const b = tensor(adapter, loraName(layer, module, "B"))
      mergeLora(tensor(weights, `${layerPrefix(layer)}${module}.weight`), a, b, options)
    }
  }
}

/**
 * As {@link mergeAdapter}, for tensors that are read when their turn comes: each is merged as it is
 * read, and no more than one is held.
 */
export function mergedTensors(
  tensors: readonly TensorSource[],
  adapter: ReadonlyMap<string, Float32Array>,
  spec: LoraSpec,
): TensorSource[] {
  const options = { loraRank: spec.loraRank, scale: loraScale(spec) }
  return tensors.map((tensor) => {
    const module = `base_model.model.${tensor.name.replace(/\.weight$/, "")}`
    const a = adapter.get(`${module}.lora_A.weight`)
    const b = adapter.get(`${module}.lora_B.weight`)
    if (a === undefined || b === undefined) return tensor
    const read = async () => {
      const weight = await tensor.read()
      mergeLora(weight, a, b, options)
      return weight
    }
    return { ...tensor, read }
  })
}
