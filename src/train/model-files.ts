import { copySideFiles, saveAdapter, saveModel } from "../models/files/index.ts"
import {
  type Decoder,
  decoderName,
  decoderParameters,
  loraParameters,
  type TensorSource,
} from "../models/index.ts"
import type { RunPlan } from "./plan.ts"

/**
 * Writes what was trained: the adapter, or the whole model. `exact` keeps float32, which a resumed
 * run needs; otherwise the model goes back to what its checkpoint was stored in.
 */
export async function writeTrainedModel(
  folder: string,
  plan: RunPlan,
  decoder: Decoder,
  { exact }: { readonly exact: boolean },
): Promise<void> {
  const { model, lora, modelFolder, config } = plan
  const source = (name: string, shape: readonly number[], held = name): TensorSource => ({
    name,
    shape,
    read: async () => {
      const { data } = await decoder.device.download(decoder.weights.get(held)!)
      return data as Float32Array
    },
  })
  if (lora) {
    const tensors = loraParameters(model.shape, lora).map(({ name, shape }) =>
      source(name, shape, decoderName(name)),
    )
    await saveAdapter(folder, { spec: lora, baseModel: config.model, tensors })
    await copySideFiles(modelFolder, folder)
    return
  }
  await saveModel(folder, {
    json: model.json,
    tensors: decoderParameters(model.shape).map(({ name, shape }) => source(name, shape)),
    dtype: exact ? "float32" : model.dtype,
    source: modelFolder,
  })
}
