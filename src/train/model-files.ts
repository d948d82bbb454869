import { copyFile } from "node:fs/promises"
import { join } from "node:path"
import { LAYOUT_FILE, layoutOf, layoutText, templateSetup } from "../data/index.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { copySideFiles, saveAdapter, saveModel } from "../models/files/index.ts"
import {
  type AdapterStart,
  type Decoder,
  startSubtracted,
  subtractedTensors,
} from "../models/index.ts"
import type { DataPlan, RunPlan } from "./plan.ts"
import { trainedTensors } from "./trained-model.ts"

/**
 * Writes what was trained: the adapter, or the whole model. `exact` keeps float32, which a resumed
 * run needs; otherwise the model goes back to what its checkpoint was stored in. `begun` is what an
 * adapter began with, where that was taken from the base: the file's is one over the whole base.
 */
export async function writeTrainedModel(
  folder: string,
  plan: RunPlan,
  decoder: Decoder,
  { exact, begun }: { readonly exact: boolean; readonly begun: AdapterStart | undefined },
): Promise<void> {
  const { model, lora, modelFolder, config } = plan
  if (lora) {
    const held = trainedTensors(decoder, lora)
    const scores = model.shape.scores === true
    const spec = begun ? startSubtracted(lora) : lora
    const tensors = begun
      ? subtractedTensors(held, { shape: model.shape, spec: lora }, begun)
      : held
    await saveAdapter(folder, { spec, baseModel: config.model, scores, tensors })
    await copySideFiles(modelFolder, folder)
    await writeRowsLayout(folder, plan)
    return
  }
  await saveModel(folder, {
    config: model,
    tensors: trainedTensors(decoder, undefined),
    dtype: exact ? "float32" : model.dtype,
    source: modelFolder,
  })
  await writeRowsLayout(folder, plan)
}

/**
 * Writes into a model's folder how its rows were laid out, and the template that they went through
 * where that is another than the model's: whatever asks the model later asks so.
 */
async function writeRowsLayout(folder: string, plan: DataPlan): Promise<void> {
  await writeFileAtomic(join(folder, LAYOUT_FILE), rowsLayout(plan))
  const { templateFile } = templateSetup(plan.config.data.template)
  if (templateFile !== null) await copyFile(templateFile, join(folder, "chat_template.jinja"))
}

/** The text of `dftune.json`. */
export function rowsLayout({ config, rows }: DataPlan): string {
  const { version, layouts, options } = rows.manifest
  // rows that 0.1.0 prepared keep the layout that it gave them
  const then = options.templateForPlain === true ? "all" : "none"
  const { plainTexts } = templateSetup(config.data.template)
  return layoutText(
    layoutOf(version === 1 ? then : plainTexts, config.data.columns, layouts ?? null),
  )
}
