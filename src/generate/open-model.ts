import { existsSync, readdirSync } from "node:fs"
import { isAbsolute, join } from "node:path"
import { InputError } from "../errors.ts"
import type { HubProgress } from "../hub/hub.ts"
import type { CachedModel } from "../models/decoding/decoding-stages.ts"
import { decodingShapes, PackedModel, type PackOptions } from "../models/decoding/packed-model.ts"
import {
  adaptedBase,
  findModel,
  isReadByRows,
  type ModelKind,
  openWeights,
  readAdapter,
  readAdapterConfig,
  readModelConfig,
} from "../models/files/index.ts"
import { resolvedPrecision } from "../models/files/precision.ts"
import {
  type DecoderShape,
  EMBEDDING,
  elementCount,
  heldTensors,
  loraInputs,
  rowSquares,
  squaredWeight,
} from "../models/index.ts"
import { type Meter, progressMeter } from "../report/progress.ts"
import { refuseMissingRun } from "../run/missing-run.ts"
import { isRunFolder, RUN_FILES } from "../run/run-folder.ts"
import {
  type DeviceOptions,
  type DeviceTensor,
  disposeAll,
  float32,
  type Precision,
} from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"
import { loadChatTemplate, loadTokenizer, stopTokenIds } from "../text/index.ts"
import { LocalSource, type LocalSourceOptions } from "./local-source.ts"

/** A model on a device with all that text needs, and how to let go of it. */
export interface OpenModel extends LocalSourceOptions {
  /** The folder that the weights (or the adapter) came from. */
  readonly folder: string
  release(): Promise<void>
}

export interface OpenModelOptions
  extends Omit<DeviceOptions, "dtype">,
    Pick<LocalSourceOptions, "continues"> {
  /** Of products; "auto" goes by the processor and the model's size. */
  readonly dtype?: "auto" | Precision
  /** Of a hub id: branch, tag or commit. */
  readonly revision?: string
  /** In place of the base that an adapter names. */
  readonly base?: string | undefined
  /** A .jinja file in place of the model's own chat template. */
  readonly templateFile?: string
  readonly signal?: AbortSignal
  /** What is being done, for people. */
  readonly onProgress?: (message: string) => void
}

const ADAPTER_CONFIG = "adapter_config.json"
const hasModel = (folder: string) =>
  existsSync(join(folder, "config.json")) || existsSync(join(folder, ADAPTER_CONFIG))

/**
 * The folder with the weights: a run's result, else its latest checkpoint; any other path as it is.
 *
 * @throws InputError for a run that is not there, or has saved nothing yet
 */
export function weightsFolder(path: string): string {
  refuseMissingRun(path)
  if (!isRunFolder(path)) return path
  const model = join(path, RUN_FILES.model)
  if (hasModel(model)) return model
  const checkpoints = join(path, RUN_FILES.checkpoints)
  const steps = existsSync(checkpoints) ? readdirSync(checkpoints).sort().reverse() : []
  const latest = steps.find((name) => name.startsWith("step-") && hasModel(join(checkpoints, name)))
  if (latest !== undefined) return join(checkpoints, latest)
  throw new InputError(
    `${path}: this run has no ${RUN_FILES.model}/ and no checkpoint yet; wait for one or train on`,
  )
}

/** Where the parts of a model lie. */
export interface ModelFolders {
  /** The weights, or the adapter's. */
  readonly folder: string
  /** Under an adapter: the base it was trained on. */
  readonly base: string | null
  /** What the adapter itself calls its base: a folder or hub id. */
  readonly baseName: string | null
  /** The tokenizer and the chat template. */
  readonly textFolder: string
}

export interface ModelFoldersOptions {
  /** Of a hub id: branch, tag or commit. */
  readonly revision?: string
  /** In place of the base that an adapter names. */
  readonly base?: string | undefined
  /** false: the base's configs and tokenizer only. */
  readonly withBaseWeights?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
  readonly onNotice?: ((message: string) => void) | undefined
}

/** What is told of downloads: a meter a file. */
function downloadProgress(
  onProgress: ((message: string) => void) | undefined,
): (progress: HubProgress) => void {
  const meters = new Map<string, Meter>()
  return ({ file, bytes, totalBytes }) => {
    const meter = meters.get(file) ?? progressMeter(`downloading ${file}`, { unit: "bytes" })
    meters.set(file, meter)
    onProgress?.(meter(bytes, totalBytes))
  }
}

/**
 * Finds a model: a Hugging Face folder, an adapter folder (its base is found by
 * `base_model_name_or_path`), a run folder, or a hub id.
 *
 * @throws InputError naming what is missing
 */
export async function modelFolders(
  path: string,
  options: ModelFoldersOptions = {},
): Promise<ModelFolders> {
  const { revision, base: given, withBaseWeights = true, signal, onNotice } = options
  const onProgress = downloadProgress(options.onProgress)
  const hub = { ...(signal ? { signal } : {}), onProgress, ...(onNotice ? { onNotice } : {}) }
  const folder = await findModel(weightsFolder(path), {
    ...hub,
    ...(revision === undefined ? {} : { revision }),
  })
  if (!existsSync(join(folder, ADAPTER_CONFIG))) {
    if (given !== undefined) {
      throw new InputError(`--base is for adapters, and ${path} is a whole model`)
    }
    return { folder, base: null, baseName: null, textFolder: folder }
  }
  const baseName = given ?? (await namedBase(folder))
  const base = await findModel(baseName, { ...hub, withWeights: withBaseWeights }).catch(
    (error: unknown) => {
      if (!(error instanceof InputError) || given !== undefined) throw error
      const where = join(folder, ADAPTER_CONFIG)
      throw new InputError(
        `${where}: the base that "base_model_name_or_path" names cannot be opened: ` +
          `${error.message}. --base names another place for it`,
      )
    },
  )
  if (existsSync(join(base, ADAPTER_CONFIG)) && !existsSync(join(base, "config.json"))) {
    throw new InputError(`${base}: expected the base model, got an adapter of one`)
  }
  const textFolder = existsSync(join(folder, "tokenizer.json")) ? folder : base
  return { folder, base, baseName, textFolder }
}

/** The precision that `openModel` opens a model in, before it is opened: never "auto". */
export async function modelPrecision(
  { folder, base }: ModelFolders,
  {
    dtype = "auto",
    device = "cpu",
    ...kind
  }: Pick<OpenModelOptions, "dtype" | "device"> & ModelKind = {},
): Promise<Precision> {
  const { shape } = await readModelConfig(base ?? folder, kind)
  return resolvedPrecision({ dtype, device }, shape)
}

/**
 * Loads a model to sample from: a Hugging Face folder, an adapter folder (its base is found by
 * `base_model_name_or_path`), or a run folder.
 *
 * @throws InputError naming the file or key that does not fit
 */
export async function openModel(
  path: string,
  {
    signal,
    onProgress,
    revision,
    base: givenBase,
    continues,
    templateFile,
    device: kind = "cpu",
    dtype: asked = "auto",
    ...deviceOptions
  }: OpenModelOptions = {},
): Promise<OpenModel> {
  const folders = await modelFolders(path, {
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
    ...(revision === undefined ? {} : { revision }),
    base: givenBase,
  })
  const { folder, textFolder } = folders
  const base = folders.base ?? folder
  const opened = await openWeights(base)
  const dtype = resolvedPrecision({ dtype: asked, device: kind }, opened.config.shape)
  const device = await openDevice({ device: kind, dtype, ...deviceOptions })
  try {
    const adapter =
      folders.base === null ? undefined : await openAdapter(folder, opened.config.shape)
    const source = adapter ? adaptedBase(opened, adapter.shape) : opened
    const { shape } = source.config
    const tokenizer = await loadTokenizer(textFolder)
    const template = await loadChatTemplate(
      textFolder,
      templateFile === undefined ? {} : { file: templateFile },
    )
    const stops = await stopTokenIds(base, tokenizer)

    let read = 0
    const meter = progressMeter(`loading ${base}`, { unit: "tensors" })
    const weight = async (name: string, into?: Float32Array) => {
      const squared = squaredWeight(name)
      if (squared !== undefined) return rowSquares(await source.read(squared), into!.length)
      const data = adapter?.tensors.get(name) ?? (await source.read(name, into))
      const all = source.parameters.length
      onProgress?.(meter(Math.min(all, ++read), all))
      return data
    }
    const rows = adapter?.tensors.get(EMBEDDING)
    const embeddingRow = (id: number, into: Float32Array) => {
      if (!rows) return source.readRows(EMBEDDING, id, into)
      into.set(rows.subarray(id * into.length, (id + 1) * into.length))
    }
    const rowsOf = (name: string) => {
      if (adapter?.tensors.has(name) || !isReadByRows(source, name)) return undefined
      return (row: number, into: Float32Array) => source.readRows(name, row, into)
    }
    const lora = adapter?.lora
    const parts = { device, shape, lora, weight, embeddingRow, rows: rowsOf, signal }
    const model = device.sharesHostMemory ? await PackedModel.pack(parts) : await uploaded(parts)
    return {
      folder,
      model,
      tokenizer,
      template,
      ...(continues === undefined ? {} : { continues }),
      stopTokenIds: stops,
      async release() {
        if (model instanceof PackedModel) await model.release()
        else disposeAll(model.weights.values())
        await device.release()
        await opened.close()
      },
    }
  } catch (error) {
    await device.release()
    await opened.close()
    throw error
  }
}

/** An adapter's tensors as a decoder holds them, and what the blocks need to know of it. */
async function openAdapter(folder: string, base: DecoderShape) {
  const { spec, tensors, shape } = await readAdapter(folder, base)
  return { shape, lora: loraInputs(spec), tensors: heldTensors(tensors, shape) }
}

/** A model whose weights the device holds as they are. */
async function uploaded({
  device,
  shape,
  lora,
  weight,
  signal,
}: PackOptions): Promise<CachedModel> {
  const weights = new Map<string, DeviceTensor>()
  for (const [name, dims] of decodingShapes({ shape, lora })) {
    signal?.throwIfAborted()
    weights.set(
      name,
      await device.upload(float32(dims, await weight(name, new Float32Array(elementCount(dims))))),
    )
  }
  return { device, shape, weights, lora }
}

/** The base that an adapter names; a relative path is looked for beside the adapter first. */
async function namedBase(adapter: string): Promise<string> {
  const { baseModel: named } = await readAdapterConfig(adapter)
  if (named === null) {
    throw new InputError(
      `${join(adapter, ADAPTER_CONFIG)}: "base_model_name_or_path" names no base model; --base names it`,
    )
  }
  const beside = join(adapter, named)
  return !isAbsolute(named) && existsSync(join(beside, "config.json")) ? beside : named
}

/** A local source that holds its model. */
export type Generator = LocalSource & {
  readonly open: OpenModel
  /** Lets go of the source and the model. */
  close(): Promise<void>
}

/** Opens a model and samples from it. */
export async function openGenerator(
  path: string,
  options: OpenModelOptions = {},
): Promise<Generator> {
  const open = await openModel(path, options)
  const source = new LocalSource(open)
  const close = async () => {
    await source.release()
    await open.release()
  }
  return Object.assign(source, { open, close })
}
