import { diskFolder } from "../../formats/disk-folder.ts"
import type { QuantizeOptions } from "../adapters/quantize.ts"
import type { ForeignModel } from "../families/foreign-model.ts"
import type { ModelConfig } from "../families/model-config.ts"
import { ggufFileOf, openGgufWeights } from "./gguf-model.ts"
import {
  anyModelConfigIn,
  type LoadedModel,
  type LoadedQuantizedModel,
  type LoadOptions,
  loadQuantizedWeights,
  loadWeights,
  modelConfigIn,
  type OpenWeights,
  openWeightsIn,
} from "./open-weights.ts"

/** {@link modelConfigIn} of a model folder on the disk. */
export function readModelConfig(folder: string): Promise<ModelConfig> {
  return modelConfigIn(diskFolder(folder))
}

/** {@link anyModelConfigIn} of a model folder on the disk. */
export function readAnyModelConfig(folder: string): Promise<ModelConfig | ForeignModel> {
  return anyModelConfigIn(diskFolder(folder))
}

/** {@link openWeightsIn} of a model folder on the disk, or the weights of the GGUF file it stands for. */
export function openWeights(folder: string): Promise<OpenWeights> {
  const file = ggufFileOf(folder)
  return file === undefined ? openWeightsIn(diskFolder(folder)) : openGgufWeights(folder, file)
}

/** {@link loadWeights} of a model folder on the disk. */
export async function loadModel(folder: string, options?: LoadOptions): Promise<LoadedModel> {
  return loadWeights(await openWeights(folder), options)
}

/** {@link loadQuantizedWeights} of a model folder on the disk. */
export async function loadQuantizedModel(
  folder: string,
  quantization: QuantizeOptions,
  options?: LoadOptions,
): Promise<LoadedQuantizedModel> {
  return loadQuantizedWeights(await openWeights(folder), quantization, options)
}
