import { InputError } from "../../errors.ts"
import { randomStream } from "../../random.ts"
import { doraNames } from "../block/dora.ts"
import type { LoraInputs, LoraUpdate } from "../block/layer-plan.ts"
import { layerPrefix, linearLayers, linearModules, SCORE } from "../block/parameters.ts"
import type { DecoderShape, Parameter } from "../families/shape.ts"
import { type ModuleNames, namesModule, patternValue } from "./peft-patterns.ts"
import {
  heldName,
  isSavedModule,
  type SavedModules,
  savedModules,
  savedParameters,
} from "./saved-modules.ts"

/** What one linear layer's update is made of. */
export interface ModuleLora {
  readonly rank: number
  readonly alpha: number
}

/** A low-rank adapter (Hu et al., arXiv 2106.09685): y = W x + scale * B A dropout(x). */
export interface LoraSpec {
  readonly loraRank: number
  readonly loraAlpha: number
  /** Probability that an input element of A is zeroed while training. */
  readonly loraDropout: number
  /** scale = alpha / sqrt(rank) instead of alpha / rank (arXiv 2312.03732). */
  readonly useRslora: boolean
  /** Each output has a magnitude of its own, which is trained (DoRA, arXiv 2402.09353). */
  readonly useDora: boolean
  /** [L]: the updates of each layer by module, in the checkpoint's order. */
  readonly layers: readonly ReadonlyMap<string, ModuleLora>[]
  /** Modules of the base that train whole beside it. */
  readonly saved: SavedModules
  /** What it was asked for with; adapter_config.json says the same. */
  readonly options: LoraOptions
}

export interface LoraOptions {
  readonly loraRank: number
  readonly loraAlpha: number
  readonly loraDropout?: number
  readonly useRslora?: boolean
  readonly useDora?: boolean
  /**
   * `all-linear`, names as PEFT matches them (`q_proj`, `mlp.up_proj`), or a regular expression for
   * whole paths.
   */
  readonly targetModules?: ModuleNames
  /** Modules that are left out, named in the same ways. */
  readonly excludeModules?: ModuleNames | undefined
  /** Layers that get an adapter; left out: all. */
  readonly layersToTransform?: readonly number[] | undefined
  /** Ranks and alphas of their own by patterns of module paths. */
  readonly rankPattern?: Readonly<Record<string, number>>
  readonly alphaPattern?: Readonly<Record<string, number>>
  /** Modules of the base that train whole beside the adapter, by the ends of their paths. */
  readonly modulesToSave?: readonly string[]
}

/** [L]: the modules of each layer that `target_modules` names. */
function namedModules(targets: ModuleNames, shape: DecoderShape, where: string): string[][] {
  const key = `${where}: target_modules`
  return shape.layers.map((kind, layer) =>
    [...linearLayers(shape, kind).values()]
      .filter(({ module, isExpert = false }) =>
        targets === "all-linear"
          ? !isExpert
          : namesModule(targets, layerPrefix(layer) + module, key),
      )
      .map(({ module }) => module),
  )
}

/** @throws InputError naming what matches no linear layer of a block */
function refuseStrays(targets: ModuleNames, shape: DecoderShape, where: string): void {
  const each = typeof targets === "string" ? [targets] : targets.map((name) => [name])
  const isStray = (names: ModuleNames) =>
    namedModules(names, shape, where).every((modules) => modules.length === 0)
  const stray = each.find(isStray)
  if (stray === undefined && each.length > 0) return
  const plain = [...linearModules(shape).values()].filter(({ isExpert }) => !isExpert)
  const names = plain.map(({ module }) => module.split(".").at(-1)).join(", ")
  const came = stray === undefined ? "an empty list" : JSON.stringify([stray].flat()[0])
  throw new InputError(
    `${where}: expected "target_modules" to be all-linear, names among ${names}, or a regular ` +
      `expression that matches whole paths of such modules, got ${came}`,
  )
}

/** [L]: the modules of each layer that get an adapter. */
function adaptedModules(
  {
    targetModules: targets = "all-linear",
    excludeModules,
    layersToTransform,
    modulesToSave = [],
  }: LoraOptions,
  shape: DecoderShape,
  where: string,
): string[][] {
  refuseStrays(targets, shape, where)
  const isLeftOut = (layer: number, module: string) =>
    !(layersToTransform?.includes(layer) ?? true) ||
    isSavedModule(modulesToSave, `${layerPrefix(layer)}${module}.weight`) ||
    (excludeModules !== undefined &&
      namesModule(excludeModules, layerPrefix(layer) + module, `${where}: exclude_modules`))
  const kept = namedModules(targets, shape, where).map((modules, layer) =>
    modules.filter((module) => !isLeftOut(layer, module)),
  )
  if (kept.some((modules) => modules.length > 0)) return kept
  throw new InputError(
    `${where}: exclude_modules, layers_to_transform and modules_to_save leave no module of target_modules`,
  )
}

/** @throws InputError */
export function checkLoraNumbers(
  { loraRank, loraAlpha, loraDropout = 0 }: LoraOptions,
  where: string,
): void {
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
}

/**
 * Checks the options of an adapter.
 * @param where the file or config they come from, for errors
 * @throws InputError
 */
export function loraSpec(options: LoraOptions, shape: DecoderShape, where = "adapter"): LoraSpec {
  checkLoraNumbers(options, where)
  const { loraRank, loraAlpha, loraDropout = 0, useRslora = false, useDora = false } = options
  const layers = adaptedModules(options, shape, where).map((modules, layer) =>
    moduleSizes(modules, layer, options, where),
  )
  const saved = savedModules(options.modulesToSave ?? [], shape, where)
  return { loraRank, loraAlpha, loraDropout, useRslora, useDora, layers, saved, options }
}

/** Rank and alpha of a layer's modules, where patterns say others than the adapter's own. */
export function moduleSizes(
  modules: readonly string[],
  layer: number,
  { loraRank, loraAlpha, rankPattern = {}, alphaPattern = {} }: LoraOptions,
  where: string,
): ReadonlyMap<string, ModuleLora> {
  const updates = modules.map((module) => {
    const path = layerPrefix(layer) + module
    const rank = patternValue(rankPattern, path, `${where}: rank_pattern`) ?? loraRank
    const alpha = patternValue(alphaPattern, path, `${where}: alpha_pattern`) ?? loraAlpha
    checkLoraNumbers({ loraRank: rank, loraAlpha: alpha }, `${where}: ${path}`)
    return [module, { rank, alpha }] as const
  })
  return new Map(updates)
}

/** The modules that have an update in any layer, each once. */
export function targetModules({ layers }: LoraSpec): string[] {
  return [...new Set(layers.flatMap((modules) => [...modules.keys()]))]
}

/** alpha / r, or alpha / sqrt(r) under rsLoRA. */
export function loraScale({ rank, alpha }: ModuleLora, { useRslora }: LoraSpec): number {
  return alpha / (useRslora ? Math.sqrt(rank) : rank)
}

/** A module's update as the blocks compute it. */
function loraUpdate(of: ModuleLora, spec: LoraSpec): LoraUpdate {
  const dora = spec.useDora ? { dora: true } : {}
  return { rank: of.rank, scale: loraScale(of, spec), ...dora }
}

/** The adapter as a decoder's blocks take it. */
export function loraInputs(spec: LoraSpec): LoraInputs {
  const layers = spec.layers.map(
    (modules): ReadonlyMap<string, LoraUpdate> =>
      new Map([...modules].map(([module, of]) => [module, loraUpdate(of, spec)])),
  )
  const { tensors } = spec.saved
  return { layers, dropout: spec.loraDropout, ...(tensors.size > 0 ? { whole: tensors } : {}) }
}

const PEFT_PREFIX = "base_model.model."

/** PEFT's names carry the wrapper's path; below it they are the decoder's. */
export function decoderName(peftName: string): string {
  return peftName.startsWith(PEFT_PREFIX) ? peftName.slice(PEFT_PREFIX.length) : peftName
}

/** PEFT's names: the base parameter's path under `base_model.model.`, then the factor. */
export function loraName(layer: number, module: string, factor: "A" | "B"): string {
  return `${PEFT_PREFIX}${layerPrefix(layer)}${module}.lora_${factor}.weight`
}

/** DoRA's magnitudes of a module. */
export function magnitudeName(layer: number, module: string): string {
  return PEFT_PREFIX + layerPrefix(layer) + doraNames(module).magnitude
}

/** All tensors of an adapter's file: its matrices, then the modules that are saved whole. */
export function adapterParameters(shape: DecoderShape, spec: LoraSpec): Parameter[] {
  const saved = savedParameters(shape, spec.saved).map(({ name, shape }) => ({
    name: PEFT_PREFIX + name,
    shape,
  }))
  return [...loraParameters(shape, spec), ...saved]
}

/** An adapter's tensors by the names under which a decoder holds them. */
export function heldTensors(
  tensors: ReadonlyMap<string, Float32Array>,
  shape: DecoderShape,
): Map<string, Float32Array> {
  return new Map(
    [...tensors].map(([name, values]) => [heldName(decoderName(name), shape), values] as const),
  )
}

/** The adapter's matrices: A is [rank, in], B is [out, rank]; of DoRA the magnitudes [out] too. */
export function loraParameters(shape: DecoderShape, { layers, useDora }: LoraSpec): Parameter[] {
  return layers.flatMap((modules, layer) => {
    const linears = linearLayers(shape, shape.layers[layer]!)
    return [...modules].flatMap(([module, { rank }]): Parameter[] => {
      const { inFeatures, outFeatures } = linears.get(module)!
      return [
        { name: loraName(layer, module, "A"), shape: [rank, inFeatures] },
        { name: loraName(layer, module, "B"), shape: [outFeatures, rank] },
        ...(useDora ? [{ name: magnitudeName(layer, module), shape: [outFeatures] }] : []),
      ]
    })
  })
}

/**
 * A new adapter as PEFT starts one: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt(5)), B zero,
 * so that the model is unchanged. A tensor's numbers depend on the seed and its name only. DoRA's
 * magnitudes are the base's to say, and not among them.
 */
export function initialLora(
  shape: DecoderShape,
  spec: LoraSpec,
  seed: number,
): Map<string, Float32Array> {
  const entries = loraParameters(shape, { ...spec, useDora: false }).map(
    ({ name, shape: [rows, columns] }) => {
      const values = new Float32Array(rows! * columns!)
      if (name.endsWith("lora_A.weight")) {
        const random = randomStream(seed, name)
        const bound = 1 / Math.sqrt(columns!)
        for (let i = 0; i < values.length; i++) values[i] = (2 * random() - 1) * bound
      }
      return [name, values] as const
    },
  )
  return new Map(entries)
}

/** Of a linear layer's weights where Transformers makes a new one. */
const INITIALIZER_RANGE = 0.02

/**
 * A new reward model's score [C]: normal, so that what is below it learns from the first step on.
 */
export function initialScore(hiddenSize: number, seed: number): Float32Array {
  const random = randomStream(seed, SCORE)
  // Box and Muller
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  return Float32Array.from({ length: hiddenSize }, () => INITIALIZER_RANGE * normal())
}
