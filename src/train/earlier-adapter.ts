import type { Config } from "../config/index.ts"
import { adapterFields } from "../config/schema.ts"
import { InputError } from "../errors.ts"
import { weightsFolder } from "../generate/open-model.ts"
import { readAdapter } from "../models/files/index.ts"
import { weightsHash } from "../models/files/weights-hash.ts"
import { heldTensors, type LoraSpec, type ModelConfig } from "../models/index.ts"

type AdapterConfig = NonNullable<Config["adapter"]>

/** An adapter that training goes on from. */
export interface EarlierAdapter {
  readonly spec: LoraSpec
  /** By the names under which a decoder holds them. */
  readonly tensors: ReadonlyMap<string, Float32Array>
  /** Of its weights. */
  readonly hash: string
}

/** What an adapter brings along, so that a config cannot say otherwise. */
const ITS_OWN = [
  ...(["r", "lora_alpha", "use_rslora", "use_dora", "init_lora_weights"] as const),
  ...([
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
  ] as const),
] as const satisfies readonly (keyof AdapterConfig)[]

/**
 * Reads `adapter.path`, to be trained over this base.
 *
 * @throws InputError where it does not fit the base, or the config says otherwise of it
 */
export async function earlierAdapter(
  adapter: AdapterConfig & { readonly path: string },
  { shape }: Pick<ModelConfig, "shape">,
): Promise<EarlierAdapter> {
  const { path, lora_dropout: loraDropout } = adapter
  const defaults = adapterFields.parse({})
  const other = ITS_OWN.find(
    (key) => JSON.stringify(adapter[key]) !== JSON.stringify(defaults[key]),
  )
  if (other !== undefined) {
    throw new InputError(
      `adapter.${other}: is that of the adapter in adapter.path (${path}), which goes on as it is; leave it out`,
    )
  }
  const folder = weightsFolder(path)
  const read = await readAdapter(folder, shape)
  const isAsBase =
    read.shape.vocabSize === shape.vocabSize &&
    read.shape.tieWordEmbeddings === shape.tieWordEmbeddings
  if (!isAsBase) {
    throw new InputError(
      `adapter.path: ${path} has ${read.shape.vocabSize} tokens${read.shape.tieWordEmbeddings ? "" : " and a head of its own"}, the base has ${shape.vocabSize}; give the tokens it was trained with as model_tokens, or merge it first (dftune export ${path} --to merged) and train a new one over that`,
    )
  }
  return {
    spec: { ...read.spec, loraDropout, options: { ...read.spec.options, loraDropout } },
    tensors: heldTensors(read.tensors, shape),
    hash: weightsHash(folder),
  }
}
