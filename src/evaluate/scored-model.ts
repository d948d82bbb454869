import { modelFolders } from "../generate/index.ts"
import { openWeights, readAdapter, readModelConfig } from "../models/files/index.ts"
import {
  Decoder,
  type DecoderShape,
  decoderName,
  loraInputs,
  loraParameters,
  packSequences,
} from "../models/index.ts"
import type { DeviceOptions } from "../runtime/index.ts"
import { float32, type HostTensor } from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"
import { baseWeights } from "../train/model-weights.ts"
import { CROSS_ENTROPY } from "../train/objective-head.ts"

/** A model that says how probable given tokens are, in the graphs that training has. */
export interface ScoredModel {
  readonly decoder: Decoder
  readonly shape: DecoderShape
  /** The tokenizer and the chat template. */
  readonly textFolder: string
  /** The weights, or the adapter's. */
  readonly folder: string
  release(): Promise<void>
}

export interface ScoredModelOptions {
  readonly device?: DeviceOptions
  /** In place of the base that an adapter names. */
  readonly base?: string
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
  { device: wanted = { device: "cpu" }, ...options }: ScoredModelOptions = {},
): Promise<ScoredModel> {
  const { folder, base, textFolder } = await modelFolders(path, options)
  const weightsFolder = base ?? folder
  const { shape } = await readModelConfig(weightsFolder)
  const load = options.signal ? { signal: options.signal } : {}
  const weights = new Map<string, HostTensor>(
    await baseWeights(await openWeights(weightsFolder), undefined, load),
  )
  const adapter = base === null ? undefined : await readAdapter(folder, shape)
  if (adapter) {
    for (const { name, shape: dims } of loraParameters(shape, adapter.spec)) {
      weights.set(decoderName(name), float32(dims, adapter.tensors.get(name)!))
    }
  }
  const device = await openDevice(wanted)
  const lora = adapter && loraInputs(adapter.spec)
  const decoder = await Decoder.open({ device, shape, weights, lora }, { trained: false })
  return {
    decoder,
    shape,
    textFolder,
    folder,
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
