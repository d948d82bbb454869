import { diskFolder } from "../../formats/disk-folder.ts"
import { openCheckpointIn } from "../../formats/tensor-folder-reader.ts"
import type { ForeignModel } from "../families/foreign-model.ts"
import type { ModelConfig } from "../families/model-config.ts"
import { checkLayers, checkTensors } from "./checkpoint-tensors.ts"
import { addedTokensOf } from "./extended-model.ts"
import { ggufFileOf } from "./gguf-model.ts"
import { openWeights, readAnyModelConfig } from "./load.ts"
import { type ModelKind, storedParameters } from "./open-weights.ts"

/**
 * Holds a model's config to the tensors that are there, by their names and shapes: what is planned
 * from the config is then no more than what can be read.
 *
 * @throws InputError naming the key, file or tensor, what was expected and what came
 */
export async function checkWeights(folder: string, kind?: ModelKind): Promise<void> {
  const { close } = await openWeights(folder, kind)
  await close()
}

/** The first number after a list of layers in a name: `transformer.h.3.` and the like. */
const ANY_LAYER = /^(?:\w+\.)*?(?:h|layers?|blocks)\.(\d+)(?=\.)/

/**
 * {@link checkWeights} for what Transformers opens, which may leave tensors out or join them: as
 * many layers as the config asks for, and all tensors of a family that is known.
 */
export async function checkForeignWeights(
  folder: string,
  model: ModelConfig | ForeignModel,
): Promise<void> {
  const added = addedTokensOf(folder)
  if (added) return checkForeignWeights(added.base, await readAnyModelConfig(added.base))
  if (ggufFileOf(folder) !== undefined) return
  const reader = await openCheckpointIn(diskFolder(folder))
  try {
    checkLayers(reader.tensors.keys(), model.shape, {
      where: folder,
      says: "config.json asks for this many layers",
      layerOf: ANY_LAYER,
    })
    if ("isForeign" in model || model.quantization) return
    const rules = { where: folder, ignored: () => true }
    checkTensors(reader, storedParameters(model), rules)
  } finally {
    await reader.close()
  }
}
