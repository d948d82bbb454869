import { diskFolder, openFile } from "../../formats/disk-folder.ts"
import type { QuantizeOptions } from "../adapters/quantize.ts"
import type { ForeignModel } from "../families/foreign-model.ts"
import type { ModelConfig } from "../families/model-config.ts"
import { asRewardModel } from "../families/reward-model.ts"
import { addedTokensOf, openExtended } from "./extended-model.ts"
import { ggufFileOf, ggufHeaders, openGgufWeights } from "./gguf-model.ts"
import {
  anyModelConfigIn,
  type LoadedModel,
  type LoadedQuantizedModel,
  type LoadOptions,
  loadQuantizedWeights,
  loadWeights,
  type ModelHeaders,
  type ModelKind,
  modelConfigIn,
  modelHeadersIn,
  type OpenWeights,
  openWeightsIn,
  storedParameters,
} from "./open-weights.ts"

/** {@link modelConfigIn} of a model folder on the disk. */
export function readModelConfig(folder: string, kind?: ModelKind): Promise<ModelConfig> {
  return modelConfigIn(diskFolder(folder), kind)
}

/** {@link anyModelConfigIn} of a model folder on the disk. */
export function readAnyModelConfig(
  folder: string,
  kind?: ModelKind,
): Promise<ModelConfig | ForeignModel> {
  return anyModelConfigIn(diskFolder(folder), kind)
}

/**
 * {@link openWeightsIn} of a model folder on the disk, or of what it stands for: a GGUF file, a
 * model with added tokens.
 */
export async function openWeights(folder: string, kind: ModelKind = {}): Promise<OpenWeights> {
  const added = addedTokensOf(folder)
  if (added !== undefined) {
    return openExtended(
      await readModelConfig(folder, kind),
      added,
      await openWeights(added.base, kind),
    )
  }
  const file = ggufFileOf(folder)
  if (file === undefined) return openWeightsIn(diskFolder(folder), kind)
  const open = await openGgufWeights(folder, file)
  if (!kind.scores) return open
  const config = asRewardModel(open.config, file)
  return { ...open, config, parameters: storedParameters(config) }
}

/**
 * A model folder on the disk, or the GGUF file it stands for, by its config and headers alone.
 *
 * @throws InputError as {@link openWeights}
 */
export async function modelHeaders(folder: string): Promise<ModelHeaders> {
  const file = ggufFileOf(folder)
  if (file === undefined) return modelHeadersIn(diskFolder(folder))
  return ggufHeaders(await openFile(file))
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
