import { modelFolders, modelPrecision } from "../generate/index.ts"
import { adaptedBase, openWeights, readAdapter, readModelConfig } from "../models/files/index.ts"
import {
  adapterParameters,
  Decoder,
  type DecoderShape,
  decoderName,
  heldName,
  loraInputs,
  packSequences,
} from "../models/index.ts"
import { progressMeter } from "../report/progress.ts"
import type { DeviceOptions, Precision } from "../runtime/index.ts"
import { float32, type HostTensor } from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"
import { baseWeights } from "./model-weights.ts"
import { CROSS_ENTROPY } from "./objective-head.ts"

/** A model that says how probable given tokens are, in the graphs that training has. */
export interface ScoredModel {
  readonly decoder: Decoder
  readonly shape: DecoderShape
  /** The tokenizer and the chat template. */
  readonly textFolder: string
  /** The weights, or the adapter's. */
  readonly folder: string
  /** What products round to. */
  readonly dtype: Precision
  release(): Promise<void>
}

export interface ScoredModelOptions {
  /** Of products; "auto" goes by the processor and the model's size. */
  readonly dtype?: "auto" | Precision
  readonly threads?: DeviceOptions["threads"]
  /** In place of the base that an adapter names. */
  readonly base?: string
  /** It is a reward model, whose decoder says scores. */
  readonly scores?: boolean
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
}

/**
 * Opens a model folder, an adapter over its base, a run or a hub id.
 *
 * @throws InputError naming what is missing
 */
export async function openScoredModel(
  path: string,
  { dtype: asked = "fp32", threads = "auto", scores = false, ...options }: ScoredModelOptions = {},
): Promise<ScoredModel> {
  const folders = await modelFolders(path, options)
  const { folder, base, textFolder } = folders
  const dtype = await modelPrecision(folders, { dtype: asked, scores })
  const weightsFolder = base ?? folder
  const config = await readModelConfig(weightsFolder, { scores })
  const adapter = base === null ? undefined : await readAdapter(folder, config.shape)
  const { shape } = adapter ?? config
  const meter = progressMeter("loading", { unit: "tensors" })
  const load = {
    ...(options.signal ? { signal: options.signal } : {}),
    onProgress: (done: number, all: number) => options.onProgress?.(meter(done, all)),
  }
  const weights = new Map<string, HostTensor>(
    await baseWeights(
      adaptedBase(await openWeights(weightsFolder, { scores }), shape),
      undefined,
      load,
    ),
  )
  if (adapter) {
    for (const { name, shape: dims } of adapterParameters(shape, adapter.spec)) {
      const held = heldName(decoderName(name), shape)
      weights.set(held, float32(dims, adapter.tensors.get(name)!))
    }
  }
  const device = await openDevice({ device: "cpu", dtype, threads })
  const lora = adapter && loraInputs(adapter.spec)
  const decoder = await Decoder.open({ device, shape, weights, lora }, { trained: false })
  return {
    decoder,
    shape,
    textFolder,
    folder,
    dtype,
    async release() {
      await decoder.release()
      await device.release()
    },
  }
}

/** ln p of each token after the first, given those before it; [T - 1]. */
export async function tokenLogprobs(
  { decoder }: Pick<ScoredModel, "decoder">,
  tokenIds: readonly number[],
): Promise<Float32Array> {
  if (tokenIds.length < 2) return new Float32Array()
  const all = { tokenIds: Int32Array.from(tokenIds), lossMask: new Uint8Array(tokenIds.length) }
  all.lossMask.fill(1, 1)
  const { logp } = await decoder.evaluate(packSequences([all]), CROSS_ENTROPY)
  return logp
}
