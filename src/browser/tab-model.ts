import { type Folder, requiredObjectIn } from "../formats/folder.ts"
import { modelConfigIn, openWeightsIn } from "../models/files/open-weights.ts"
import { type ModelConfig, modelConfig, type WeightQuantization } from "../models/index.ts"
import type { HostTensor } from "../runtime/index.ts"
import type { ChatTemplate } from "../text/chat-template.ts"
import { chatTemplateIn } from "../text/model-chat-template.ts"
import { stopTokensIn } from "../text/stop-tokens.ts"
import { type Tokenizer, tokenizerIn } from "../text/tokenizer.ts"
import { baseWeights } from "../train/model-weights.ts"

/** A model in the tab's memory: what runs begin with. Nothing trains these arrays. */
export interface TabModel {
  /** What an adapter calls its base: a folder or hub id. */
  readonly name: string
  readonly config: ModelConfig
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate | null
  readonly stopIds: ReadonlySet<number>
  readonly quantization: WeightQuantization | undefined
  readonly weights: ReadonlyMap<string, HostTensor>
}

export interface TabModelOptions {
  /**
   * Holds the blocks' linear weights as codes of 8 or 4 bits; an adapter is then what is trained.
   */
  readonly quantization?: WeightQuantization | undefined
  readonly name?: string
  readonly signal?: AbortSignal
  readonly onProgress?: (tensorsRead: number, tensorsInAll: number) => void
}

/**
 * What a folder's config.json says, before anything of its weights is opened (or fetched).
 *
 * @throws InputError naming the key
 */
export async function configBefore(folder: Folder): Promise<ModelConfig> {
  if (!(await folder.names()).includes("config.json")) return modelConfigIn(folder) // says why
  return modelConfig(await requiredObjectIn(folder, "config.json"), folder.pathOf("config.json"))
}

/**
 * Reads a model folder: config.json, safetensors, tokenizer, template.
 *
 * @throws InputError naming the file, key or tensor, what was expected and what came
 */
export async function openTabModel(
  folder: Folder,
  { quantization, name = folder.path, signal, onProgress }: TabModelOptions = {},
): Promise<TabModel> {
  const config = await modelConfigIn(folder)
  const tokenizer = await tokenizerIn(folder)
  return {
    name,
    config,
    tokenizer,
    template: await chatTemplateIn(folder),
    stopIds: await stopTokensIn(folder, tokenizer),
    quantization,
    weights: await baseWeights(await openWeightsIn(folder), quantization, {
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
    }),
  }
}
