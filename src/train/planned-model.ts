import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import {
  checkForeignWeights,
  checkWeights,
  findModel,
  ggufFileOf,
  modelWithTokens,
  readAnyModelConfig,
  readModelConfig,
  sideFiles,
} from "../models/files/index.ts"
import type { ForeignModel, LoraSpec, ModelConfig } from "../models/index.ts"
import type { Objective } from "../objectives/index.ts"
import { type EarlierAdapter, earlierAdapter } from "./earlier-adapter.ts"
import { adapterSpec } from "./model-settings.ts"
import { padTokenOf, withPadToken } from "./pad-token.ts"
import type { PlanWarning } from "./plan-warnings.ts"

/** The model that a run starts from, as its files say it. */
export interface PlannedModel {
  readonly modelFolder: string
  readonly model: ModelConfig | ForeignModel
  /** The same, where the local engine knows its family. */
  readonly own: ModelConfig | undefined
  readonly lora: LoraSpec | undefined
  readonly earlier: EarlierAdapter | undefined
  /** Of a model of scores; null of any other. */
  readonly padTokenId: number | null
  readonly lints: readonly PlanWarning[]
}

/**
 * Finds the model and its adapter, and holds their files to what the config asks of them. No weight
 * is read.
 *
 * @throws InputError for a model that is not there, or that cannot be trained so
 */
export async function plannedModel(
  config: Config,
  objective: Objective,
  signal: AbortSignal | undefined,
): Promise<PlannedModel> {
  const lints: PlanWarning[] = []
  const onNotice = (message: string) => void lints.push(damagedCache(message))
  const found = await findModel(config.model, {
    revision: config.model_revision,
    ...(signal ? { signal } : {}),
    onNotice,
  })
  const { adapter, model_tokens } = config
  const modelFolder =
    model_tokens.length > 0 ? await modelWithTokens(found, model_tokens, onNotice) : found
  sideFiles(modelFolder) // the result gets copies of them, hours later
  const isTorch = config.engine.name === "torch"
  const scores = objective.trainsOn === "scores"
  const padTokenId = scores ? await padTokenOf(modelFolder) : null
  const model = withPadToken(
    await (isTorch ? readAnyModelConfig : readModelConfig)(modelFolder, { scores }),
    padTokenId,
  )
  await (isTorch ? checkForeignWeights(modelFolder, model) : checkWeights(modelFolder, { scores }))
  const own = "isForeign" in model ? undefined : model
  if (adapter?.path && !own) {
    throw new InputError(
      `adapter.path: ${adapter.path}: an adapter is gone on from over the families that the local engine knows, and ${config.model} is none of them; merge it (dftune export ${adapter.path} --to merged) and train a new one over the result`,
    )
  }
  const earlier =
    adapter?.path && own ? await earlierAdapter({ ...adapter, path: adapter.path }, own) : undefined
  const lora =
    earlier?.spec ?? (adapter && own ? adapterSpec(adapter, own, model_tokens) : undefined)
  if (own?.quantization && !lora) {
    throw new InputError(
      `model: ${config.model}: is a quantised checkpoint, which is a frozen base; add an adapter (adapter: { type: lora, r: 8 }), or make a plain model of it first (dftune convert ${config.model} FOLDER)`,
    )
  }
  if (own) lints.push(...storedLints(own, modelFolder))
  return { modelFolder, model, own, lora, earlier, padTokenId, lints }
}

const damagedCache = (message: string): PlanWarning => ({
  code: "damaged-cache",
  message,
  hint: "a disk that does this often is failing",
})

/** A base whose file holds fewer bits is computed with as it was dequantised. */
function storedLints({ quantization }: ModelConfig, folder: string): PlanWarning[] {
  const gguf = ggufFileOf(folder)
  if (gguf === undefined && quantization === undefined) return []
  const method = gguf === undefined ? String(quantization?.quant_method ?? "bitsandbytes") : "GGUF"
  return [
    {
      code: "dequantized-base",
      message: `the base is read from ${method} and dequantised`,
      hint: "quantization: int8 or int4 keeps a frozen base small in memory",
    },
  ]
}
