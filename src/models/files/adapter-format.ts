import { InputError } from "../../errors.ts"
import { type Folder, requiredObjectIn } from "../../formats/folder.ts"
import type { TensorReader } from "../../formats/safetensors.ts"
import { openCheckpointIn } from "../../formats/tensor-folder-reader.ts"
import {
  adapterParameters,
  checkLoraNumbers,
  decoderName,
  type LoraSpec,
  moduleSizes,
} from "../adapters/lora.ts"
import { namesModule } from "../adapters/peft-patterns.ts"
import {
  heldName,
  isSavedModule,
  type SavedModules,
  savedModules,
} from "../adapters/saved-modules.ts"
import { MAGNITUDE } from "../block/dora.ts"
import {
  decoderParameters,
  EMBEDDING,
  HEAD,
  layerPrefix,
  layerTensor,
  linearLayers,
} from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"
import { adaptedShape } from "./adapted-base.ts"
import { type AdapterConfig, type AdapterFiles, parseAdapterConfig } from "./adapter-config.ts"
import { checkTensors, listed } from "./checkpoint-tensors.ts"

export const ADAPTER_CONFIG = "adapter_config.json"
const PREFIX = "adapter_model"
export const ADAPTER_TENSORS = `${PREFIX}.safetensors`

/** @throws InputError naming the key and what was expected */
export async function adapterConfigIn(folder: Folder): Promise<AdapterConfig> {
  const json = await requiredObjectIn(folder, ADAPTER_CONFIG)
  return parseAdapterConfig(json, folder.pathOf(ADAPTER_CONFIG))
}

/** For each layer, the modules with matrices in the file; what is whole in it is left out. */
function storedModules(
  { tensors }: TensorReader,
  layers: number,
  { file: where, whole }: { readonly file: string; readonly whole: ReadonlySet<string> },
): Set<string>[] {
  const stored = Array.from({ length: layers }, () => new Set<string>())
  const strays: string[] = []
  for (const name of tensors.keys()) {
    const inner = name.startsWith("base_model.model.") ? layerTensor(decoderName(name)) : undefined
    const [, module] =
      /^(.+)\.(?:lora_[AB]\.weight|lora_magnitude_vector)$/.exec(inner?.name ?? "") ?? []
    if (whole.has(name)) continue
    const ofLayer = inner && stored[inner.layer]
    if (!ofLayer || module === undefined) strays.push(name)
    else ofLayer.add(module)
  }
  if (strays.length > 0) throw new InputError(`${where}: ${strayTensors(strays)}`)
  return stored
}

function strayTensors(names: readonly string[]): string {
  const found = `tensors that are no A or B of a layer of the base: ${listed(names)}`
  if (names.some((name) => name.includes(".default."))) {
    return `${found}; names with ".default." come from torch.save: save the adapter with PEFT's save_pretrained`
  }
  if (names.every((name) => !name.startsWith("base_model.model."))) {
    return `${found}; PEFT's names begin with "base_model.model.": save the adapter with its save_pretrained`
  }
  return `${found}; the adapter holds more than low-rank updates of linear layers, or belongs to another base. Merge it with PEFT (merge_and_unload) and use the merged model`
}

/**
 * The modules that the file has an adapter for, held to what adapter_config.json says of them: with
 * regular expressions and exclusions the tensors themselves are the surest list.
 */
function storedSpec(
  { options }: AdapterConfig,
  reader: TensorReader,
  shape: DecoderShape,
  { config, file }: { readonly config: string; readonly file: string },
): LoraSpec {
  const { loraRank, loraAlpha, loraDropout = 0 } = options
  const { useRslora = false, useDora = false } = options
  const { targetModules: targets } = options
  checkLoraNumbers(options, config)
  const whole = storedWhole(reader, shape, options.modulesToSave ?? [])
  const stored = storedModules(reader, shape.layers.length, { file, whole: new Set(whole.keys()) })
  const magnitude = [...reader.tensors.keys()].find((name) => name.endsWith(MAGNITUDE))
  if (!useDora && magnitude !== undefined) {
    throw new InputError(
      `${config}: says nothing of "use_dora": true, and ${file} holds ${magnitude}, which only DoRA has`,
    )
  }
  const layers = shape.layers.map((kind, layer) => {
    const linears = linearLayers(shape, kind)
    for (const module of stored[layer]!) {
      const path = layerPrefix(layer) + module
      if (!linears.has(module)) {
        throw new InputError(
          `${file}: holds an adapter for ${path}, which is no linear layer of this base`,
        )
      }
      if (targets === undefined || targets === "all-linear") continue
      if (namesModule(targets, path, `${config}: target_modules`)) continue
      throw new InputError(
        `${config}: "target_modules" does not name ${path}, for which there are tensors; PEFT would leave them out`,
      )
    }
    const present = [...linears.keys()].filter((module) => stored[layer]!.has(module))
    return moduleSizes(present, layer, options, config)
  })
  if (layers.every((modules) => modules.size === 0)) {
    throw new InputError(`${file}: no adapter tensors (lora_A, lora_B)`)
  }
  const saved = storedSaved(whole, options.modulesToSave ?? [], shape, { config, file })
  const named = { ...options, modulesToSave: saved.names }
  const numbers = { loraRank, loraAlpha, loraDropout, useRslora, useDora }
  return { ...numbers, layers, saved, options: named }
}

/** A reward model's adapter belongs to a base that is opened as one, and no other does. */
function checkKind({ scores }: AdapterConfig, shape: DecoderShape, where: string): void {
  if (scores === (shape.scores === true)) return
  throw new InputError(
    scores
      ? `${where}: is a reward model's adapter ("task_type": "SEQ_CLS"): it scores texts and predicts no token. Measure it with eval --data pairs.jsonl, or let it reward samples (rollout.rewards: [{ model: FOLDER }])`
      : `${where}: is a language model's adapter, where one of a reward model ("task_type": "SEQ_CLS", the score in "modules_to_save") is expected`,
  )
}

/** @throws InputError where the file lacks what the config names */
function storedSaved(
  whole: ReadonlyMap<string, string>,
  names: readonly string[],
  shape: DecoderShape,
  { config, file }: { readonly config: string; readonly file: string },
): SavedModules {
  const tensors = new Set([...whole.values()].map((name) => heldName(name, shape)))
  const asked = savedModules(names, shape, config).tensors
  const missing = [...asked].filter((name) => !tensors.has(name))
  if (missing.length > 0) {
    throw new InputError(
      `${config}: "modules_to_save" names modules that ${file} has no tensors of: ${listed(missing)}`,
    )
  }
  const unnamed = [...whole.values()].filter((name) => !isSavedModule(names, name))
  return { names: [...names, ...unnamed.map((name) => name.replace(/\.weight$/, ""))], tensors }
}

/**
 * Tensors of the base that the file holds whole, by their names there: of `modules_to_save`, and
 * the embedding and head, which PEFT also writes where tokens were added.
 */
function storedWhole(
  { tensors }: TensorReader,
  shape: DecoderShape,
  modulesToSave: readonly string[],
): ReadonlyMap<string, string> {
  const base = new Set([...decoderParameters(shape).map(({ name }) => name), HEAD])
  const isWhole = (name: string) =>
    name === EMBEDDING || name === HEAD || isSavedModule(modulesToSave, name)
  const own = [...tensors.keys()].map((name) => [name, decoderName(name)] as const)
  return new Map(own.filter(([, name]) => base.has(name) && isWhole(name)))
}

/** An adapter that has been read. */
export interface ReadAdapter extends AdapterFiles {
  /** By PEFT's names, float32. */
  readonly tensors: ReadonlyMap<string, Float32Array>
  /**
   * The base's shape as the adapter makes it: with its tokens, and its head where that is another.
   */
  readonly shape: DecoderShape
}

/**
 * The adapter's tensors, checked against its base's shape. `read`: {@link adapterConfigIn} of the
 * folder.
 */
export async function readAdapterIn(
  folder: Folder,
  read: AdapterConfig,
  base: DecoderShape,
): Promise<ReadAdapter> {
  const reader = await openCheckpointIn(folder, { prefix: PREFIX })
  try {
    const file = folder.pathOf(ADAPTER_TENSORS)
    const config = folder.pathOf(ADAPTER_CONFIG)
    const shape = await adaptedShape(reader, base, file)
    checkKind(read, shape, config)
    const spec = storedSpec(read, reader, shape, { config, file })
    const parameters = adapterParameters(shape, spec)
    checkTensors(reader, parameters, { where: file })
    const tensors = new Map<string, Float32Array>()
    for (const { name } of parameters) tensors.set(name, await reader.readFloat32(name))
    return { spec, baseModel: read.baseModel, scores: read.scores, tensors, shape }
  } finally {
    await reader.close()
  }
}
