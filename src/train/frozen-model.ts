/** Another model that says how likely tokens are: a teacher, or a reference. */
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { findModel, openWeights, readModelConfig } from "../models/files/index.ts"
import { weightsHash } from "../models/files/weights-hash.ts"
import { Decoder, type ModelConfig } from "../models/index.ts"
import type { Device } from "../runtime/index.ts"
import { loadTokenizer, type Tokenizer } from "../text/index.ts"
import { HEAD_ROWS } from "./model-settings.ts"
import { frozenWeights } from "./model-weights.ts"
import type { ReferenceModel } from "./reference-logprobs.ts"

export interface FrozenModelPlan {
  readonly folder: string
  readonly model: ModelConfig
  /** Of its weights: part of what makes a run this run. */
  readonly hash: string
}

export type OpenReference = ReferenceModel & { release(): Promise<void> }

/**
 * Finds a model that reads the policy's tokens.
 *
 * @throws InputError where there is none, or its tokens are others
 */
async function planFrozenModel(
  name: string,
  {
    as,
    tokenizer,
    vocabSize,
  }: {
    /** The key of the config that names it. */
    readonly as: "teacher" | "reference"
    readonly tokenizer: Tokenizer
    readonly vocabSize: number
  },
  signal?: AbortSignal,
): Promise<FrozenModelPlan> {
  const folder = await findModel(name, { ...(signal ? { signal } : {}) })
  const model = await readModelConfig(folder)
  const own = await loadTokenizer(folder)
  for (let id = 0; id < vocabSize; id++) {
    const [ours, theirs] = [tokenizer.tokenText(id), own.tokenText(id)]
    if (ours === theirs) continue
    throw new InputError(
      `${as}: ${name}: token ${id} is ${JSON.stringify(theirs)} there and ${JSON.stringify(ours)} in the model that is trained; a ${as} says how likely each token is, so its tokenizer must be the same${as === "teacher" ? ". With another, sample answers from it (dftune generate) and train on them with sft or dft" : ""}`,
    )
  }
  if (model.shape.vocabSize < vocabSize) {
    throw new InputError(
      `${as}: ${name}: has a vocab_size of ${model.shape.vocabSize}, the model that is trained one of ${vocabSize}; the ${as} must know every token`,
    )
  }
  return { folder, model, hash: weightsHash(folder) }
}

/** The model that the config names to be compared with, where it names one. */
export async function otherModel(
  { teacher, reference }: Pick<Config, "teacher" | "reference">,
  policy: { readonly tokenizer: Tokenizer; readonly vocabSize: number },
  signal?: AbortSignal,
): Promise<FrozenModelPlan | undefined> {
  if (teacher?.model) return planFrozenModel(teacher.model, { as: "teacher", ...policy }, signal)
  if (!reference) return undefined
  return planFrozenModel(reference, { as: "reference", ...policy }, signal)
}

/** On the same device as the policy, frozen. */
export async function openFrozenModel(
  { folder, model }: FrozenModelPlan,
  device: Device,
  signal?: AbortSignal,
): Promise<OpenReference> {
  const options = signal ? { signal } : {}
  const weights = await frozenWeights(await openWeights(folder), { device }, options)
  const { shape } = model
  const decoder = await Decoder.open(
    { device, shape, quantization: undefined, headRows: HEAD_ROWS, weights, lora: undefined },
    { trained: false },
  )
  return { decoder, adapter: false, release: () => decoder.release() }
}
