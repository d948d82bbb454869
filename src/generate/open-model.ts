import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { stopTokenIds } from "../data/stop-tokens.ts"
import { type HubProgress, resolveModel } from "../formats/hub.ts"
import {
  decoderName,
  decoderParameters,
  loadModel,
  loraScale,
  readAdapter,
  readAdapterConfig,
} from "../models/index.ts"
import { InputError } from "../run/errors.ts"
import { isRunFolder, RUN_FILES } from "../run/run-folder.ts"
import { type DeviceOptions, type DeviceTensor, float32, openDevice } from "../runtime/index.ts"
import { loadChatTemplate, loadTokenizer } from "../text/index.ts"
import { LocalSource, type LocalSourceOptions } from "./local-source.ts"

/** A model on a device with all that text needs, and how to let go of it. */
export interface OpenModel extends LocalSourceOptions {
  /** The folder that the weights (or the adapter) came from. */
  readonly folder: string
  release(): Promise<void>
}

export interface OpenModelOptions
  extends DeviceOptions,
    Pick<LocalSourceOptions, "mode" | "continues"> {
  /** Of a hub id: branch, tag or commit. */
  readonly revision?: string
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
 * @throws InputError for a run that has saved nothing yet
 */
export function weightsFolder(path: string): string {
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

/**
 * Loads a model to sample from: a Hugging Face folder, an adapter folder (its base is found by
 * `base_model_name_or_path`), or a run folder.
 *
 * @throws InputError naming the file or key that does not fit
 */
export async function openModel(
  path: string,
  { signal, onProgress, revision, mode, continues, ...deviceOptions }: OpenModelOptions = {},
): Promise<OpenModel> {
  const downloaded = ({ file, bytes, totalBytes }: HubProgress) =>
    onProgress?.(`downloading ${file}: ${Math.round((100 * bytes) / totalBytes)} %`)
  const hub = { ...(signal ? { signal } : {}), onProgress: downloaded }
  const folder = await resolveModel(weightsFolder(path), {
    ...hub,
    ...(revision === undefined ? {} : { revision }),
  })
  const isAdapter = existsSync(join(folder, ADAPTER_CONFIG))
  const base = isAdapter ? await resolveModel(await baseModel(folder), hub) : folder
  const { config, weights } = await loadModel(base, {
    ...(signal ? { signal } : {}),
    onProgress: (read, all) => onProgress?.(`loading ${base}: ${Math.round((100 * read) / all)} %`),
  })
  const { shape } = config
  const adapter = isAdapter ? await readAdapter(folder, shape) : undefined
  const textFolder = existsSync(join(folder, "tokenizer.json")) ? folder : base
  const tokenizer = await loadTokenizer(textFolder)

  const device = await openDevice({ device: "cpu", ...deviceOptions })
  const tensors = new Map<string, DeviceTensor>()
  for (const { name, shape: dims } of decoderParameters(shape)) {
    tensors.set(name, await device.upload(float32(dims, weights.get(name)!)))
  }
  for (const [name, data] of adapter?.tensors ?? []) {
    const rank = adapter!.spec.loraRank
    const isA = name.endsWith("lora_A.weight")
    const dims = isA ? [rank, data.length / rank] : [data.length / rank, rank]
    tensors.set(decoderName(name), await device.upload(float32(dims, data)))
  }
  const lora = adapter && {
    modules: new Set(adapter.spec.targetModules),
    rank: adapter.spec.loraRank,
    scale: loraScale(adapter.spec),
  }
  return {
    folder,
    model: { device, shape, weights: tensors, lora },
    tokenizer,
    template: await loadChatTemplate(textFolder),
    ...(mode === undefined ? {} : { mode }),
    ...(continues === undefined ? {} : { continues }),
    stopTokenIds: await stopTokenIds(base, tokenizer),
    async release() {
      for (const tensor of tensors.values()) tensor.dispose()
      await device.release()
    },
  }
}

async function baseModel(adapter: string): Promise<string> {
  const { baseModel: named } = await readAdapterConfig(adapter)
  if (named !== null) return named
  throw new InputError(
    `${join(adapter, ADAPTER_CONFIG)}: expected "base_model_name_or_path" to name the base model`,
  )
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
