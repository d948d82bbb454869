import { diskFolder } from "../../formats/disk-folder.ts"
import type { QuantizeOptions } from "../adapters/quantize.ts"
import type { ModelConfig } from "../families/model-config.ts"
import {
  type LoadedModel,
  type LoadedQuantizedModel,
  type LoadOptions,
  loadModelIn,
  loadQuantizedModelIn,
  modelConfigIn,
  type OpenWeights,
  openWeightsIn,
} from "./open-weights.ts"

/** {@link modelConfigIn} of a model folder on the disk. */
export function readModelConfig(folder: string): Promise<ModelConfig> {
  return modelConfigIn(diskFolder(folder))
}

/** {@link openWeightsIn} of a model folder on the disk. */
export function openWeights(folder: string): Promise<OpenWeights> {
  return openWeightsIn(diskFolder(folder))
}

/** {@link loadModelIn} of a model folder on the disk. */
export function loadModel(folder: string, options?: LoadOptions): Promise<LoadedModel> {
  return loadModelIn(diskFolder(folder), options)
}

/** {@link loadQuantizedModelIn} of a model folder on the disk. */
export function loadQuantizedModel(
  folder: string,
  quantization: QuantizeOptions,
  options?: LoadOptions,
): Promise<LoadedQuantizedModel> {
  return loadQuantizedModelIn(diskFolder(folder), quantization, options)
}
