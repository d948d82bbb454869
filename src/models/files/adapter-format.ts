import { InputError } from "../../errors.ts"
import { type Folder, requiredObjectIn } from "../../formats/folder.ts"
import type { TensorReader } from "../../formats/safetensors.ts"
import { openCheckpointIn } from "../../formats/tensor-folder-reader.ts"
import {
  checkLoraNumbers,
  decoderName,
  type LoraSpec,
  loraParameters,
  moduleSizes,
} from "../adapters/lora.ts"
import { namesModule } from "../adapters/peft-patterns.ts"
import { layerPrefix, layerTensor, linearLayers } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"
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

/** For each layer, the modules with matrices in the file. */
function storedModules({ tensors }: TensorReader, layers: number, where: string): Set<string>[] {
  const stored = Array.from({ length: layers }, () => new Set<string>())
  const strays: string[] = []
  for (const name of tensors.keys()) {
    const inner = name.startsWith("base_model.model.") ? layerTensor(decoderName(name)) : undefined
    const [, module] = /^(.+)\.lora_[AB]\.weight$/.exec(inner?.name ?? "") ?? []
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
  const { loraRank, loraAlpha, loraDropout = 0, useRslora = false } = options
  const { targetModules: targets } = options
  checkLoraNumbers(options, config)
  const stored = storedModules(reader, shape.layers.length, file)
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
  return { loraRank, loraAlpha, loraDropout, useRslora, layers, options }
}

/** The adapter's tensors by PEFT's names, float32; checked against the base's shape. */
export async function readAdapterIn(
  folder: Folder,
  shape: DecoderShape,
): Promise<AdapterFiles & { readonly tensors: ReadonlyMap<string, Float32Array> }> {
  const read = await adapterConfigIn(folder)
  const reader = await openCheckpointIn(folder, { prefix: PREFIX })
  try {
    const file = folder.pathOf(ADAPTER_TENSORS)
    const config = folder.pathOf(ADAPTER_CONFIG)
    const spec = storedSpec(read, reader, shape, { config, file })
    const parameters = loraParameters(shape, spec)
    checkTensors(reader, parameters, { where: file })
    const tensors = new Map<string, Float32Array>()
    for (const { name } of parameters) tensors.set(name, await reader.readFloat32(name))
    return { spec, baseModel: read.baseModel, tensors }
  } finally {
    await reader.close()
  }
}
