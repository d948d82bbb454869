import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import { assert } from "../errors.ts"
import {
  adaptedBase,
  copySideFiles,
  type OpenWeights,
  openWeights,
  readAdapter,
  readModelConfig,
  saveAdapter,
  saveModel,
} from "../models/files/index.ts"
import {
  adapterParameters,
  type CheckpointDtype,
  mergedTensors,
  type TensorSource,
} from "../models/index.ts"
import { progressMeter } from "../report/progress.ts"
import { loadChatTemplate, loadTokenizer } from "../text/index.ts"
import { counted } from "./counted.ts"
import type { ExportSource, Work, Written } from "./source.ts"
import { sourceAdapter } from "./source-adapter.ts"
import { roundedTensors } from "./stochastic-rounding.ts"
import { verifyTensors, writtenTensors } from "./verify.ts"

/** A model's tensors, with its adapter merged in where it has one. */
export interface OpenTensors {
  readonly model: OpenWeights
  readonly tensors: readonly TensorSource[]
}

/** Each tensor is read when it is asked for, each time anew. */
function tensorSources({ parameters, read }: OpenWeights, signal?: AbortSignal): TensorSource[] {
  return parameters.map(({ name, shape }) => ({
    name,
    shape,
    read: async () => {
      signal?.throwIfAborted()
      return read(name)
    },
  }))
}

/** Opens the tensors of what is exported for as long as `use` takes. */
export async function withTensors<T>(
  source: ExportSource,
  signal: AbortSignal | undefined,
  use: (open: OpenTensors) => Promise<T>,
): Promise<T> {
  const { folder, base } = source
  const opened = await openWeights(base ?? folder)
  try {
    if (base === null) return await use({ model: opened, tensors: tensorSources(opened, signal) })
    const adapter = await sourceAdapter(source, opened.config.shape)
    const model = adaptedBase(opened, adapter.shape)
    const tensors = mergedTensors(tensorSources(model, signal), adapter.tensors, adapter)
    return await use({ model, tensors })
  } finally {
    await opened.close()
  }
}

/** The tokenizer and the template that were copied can be read. */
export async function verifyText(folder: string): Promise<string[]> {
  if (!existsSync(join(folder, "tokenizer.json"))) {
    return ["the source has no tokenizer.json, so the export has none"]
  }
  await loadTokenizer(folder)
  await loadChatTemplate(folder)
  return []
}

/** A whole model in Hugging Face's layout, with its adapter merged in where it has one. */
export async function writeHuggingFace(
  source: ExportSource,
  stage: string,
  {
    dtype: asked,
    rounding = "nearest",
    signal,
    show,
  }: Work & { readonly dtype?: CheckpointDtype | undefined },
): Promise<Written> {
  return withTensors(source, signal, async ({ model, tensors: exact }) => {
    const dtype = asked ?? model.dtype
    const tensors = roundedTensors(exact, dtype, rounding)
    if (source.base !== null) await copySideFiles(source.base, stage)
    const writing = counted(tensors, `writing as ${dtype}`, show)
    const from = source.folder
    await saveModel(stage, { config: model.config, tensors: writing, dtype, source: from })
    const read = await openWeights(stage)
    try {
      const pairs = writtenTensors(tensorSources(read), tensors, dtype)
      const meter = progressMeter("reading back", { unit: "tensors" })
      const verified = await verifyTensors(pairs, source.folder, (done, all) =>
        show(meter(done, all)),
      )
      return { stored: dtype, verified, notes: await verifyText(stage) }
    } finally {
      await read.close()
    }
  })
}

/** The adapter alone, as PEFT reads it. */
export async function writePeft(
  source: ExportSource,
  stage: string,
  { show }: Work,
): Promise<Written> {
  const { folder, base, baseName, textFolder } = source
  assert(base !== null && baseName !== null, "writePeft: a source without an adapter")
  const { shape: ofBase } = await readModelConfig(base)
  const { spec, tensors, shape } = await sourceAdapter(source, ofBase)
  const meant = adapterParameters(shape, spec).map(({ name, shape }) => {
    return { name, shape, read: async () => tensors.get(name)! }
  })
  // PEFT looks from where it is run; a path is only good from everywhere when it is whole.
  const isFolder = existsSync(baseName)
  const baseModel = isFolder ? resolve(baseName) : baseName
  await copySideFiles(textFolder, stage)
  await saveAdapter(stage, { spec, baseModel, tensors: meant })
  const back = await readAdapter(stage, ofBase)
  const written = meant.map(({ name, shape }) => {
    return { name, shape, read: async () => back.tensors.get(name)! }
  })
  const pairs = writtenTensors(written, meant, "float32")
  const meter = progressMeter("reading back", { unit: "tensors" })
  const verified = await verifyTensors(pairs, folder, (done, all) => show(meter(done, all)))
  const notes = isFolder
    ? [`it names its base by a path of this machine (${baseModel}); send the base along`]
    : []
  return { stored: "float32", verified, notes: [...notes, ...(await verifyText(stage))] }
}
