/** Which tokens a model's processor makes of a picture, told from its size alone. */
import { InputError } from "../../errors.ts"
import { diskFolder } from "../../formats/disk-folder.ts"
import { objectIn } from "../../formats/folder.ts"
import { isObject, type JsonObject } from "../../formats/json.ts"
import type { Size } from "./picture.ts"
import { type QwenSettings, qwenExpansion } from "./qwen2-vl.ts"
import { type SmolSettings, smolExpansion } from "./smolvlm.ts"

/** Plain data: it crosses to threads and is part of the rows' key. */
export type PictureProcessor = {
  readonly modelType: string
  readonly imageTokenId: number
} & (
  | { readonly kind: "qwen2-vl"; readonly settings: QwenSettings }
  | { readonly kind: "smolvlm"; readonly settings: SmolSettings }
)

/** Transformers' names of image processors, without what ends them (Fast, Pil). */
const KINDS: Readonly<Record<string, PictureProcessor["kind"]>> = {
  Qwen2VLImageProcessor: "qwen2-vl",
  SmolVLMImageProcessor: "smolvlm",
  Idefics3ImageProcessor: "smolvlm",
}

/** Model types whose pictures are read, with the processor that each has. */
const MODEL_TYPES: Readonly<Record<string, PictureProcessor["kind"]>> = {
  qwen2_vl: "qwen2-vl",
  qwen2_5_vl: "qwen2-vl",
  smolvlm: "smolvlm",
  idefics3: "smolvlm",
}

/** Whether a model of this type has eyes that dftune knows. */
const readsPictures = (modelType: string): boolean => Object.hasOwn(MODEL_TYPES, modelType)

const MAX_BYTES = 16e6

/**
 * The processor of a model folder; undefined where the model is not one of vision and language.
 *
 * @throws InputError for a processor of another kind than its model type has
 */
export async function pictureProcessor(folder: string): Promise<PictureProcessor | undefined> {
  const files = diskFolder(folder)
  const config = (await objectIn(files, "config.json", MAX_BYTES)) ?? {}
  const modelType = String(config.model_type)
  if (!readsPictures(modelType)) return undefined
  const kind = MODEL_TYPES[modelType]!
  const around = (await objectIn(files, "processor_config.json", MAX_BYTES)) ?? {}
  const own = await objectIn(files, "preprocessor_config.json", MAX_BYTES)
  const settings = own ?? (isObject(around.image_processor) ? around.image_processor : undefined)
  if (settings === undefined) {
    throw new InputError(
      `${folder}: expected preprocessor_config.json or processor_config.json, which say how pictures are read; take them from the model's page`,
    )
  }
  const name = String(settings.image_processor_type).replace(/(Fast|Pil)$/, "")
  if (KINDS[name] !== kind) {
    throw new InputError(
      `${folder}: expected the image processor of ${modelType}, got "image_processor_type": ${JSON.stringify(settings.image_processor_type)}`,
    )
  }
  const imageTokenId = config.image_token_id
  if (!Number.isSafeInteger(imageTokenId)) {
    throw new InputError(`${folder}/config.json: expected "image_token_id" to be a token's id`)
  }
  const known = { modelType, imageTokenId: imageTokenId as number }
  return kind === "qwen2-vl"
    ? { ...known, kind, settings: qwenSettings(settings, folder) }
    : { ...known, kind, settings: smolSettings(settings, around, folder) }
}

/** The text that stands for a picture, as the model's own processor writes it. */
export function expansion(processor: PictureProcessor, size: Size, imageToken: string): string {
  return processor.kind === "qwen2-vl"
    ? qwenExpansion(processor.settings, size, imageToken)
    : smolExpansion(processor.settings, size, imageToken)
}

function qwenSettings(settings: JsonObject, folder: string): QwenSettings {
  const size = isObject(settings.size) ? settings.size : {}
  const number = reader(folder)
  refuseOff(settings, ["do_resize"], folder)
  return {
    patchSize: number(settings.patch_size ?? 14, "patch_size"),
    mergeSize: number(settings.merge_size ?? 2, "merge_size"),
    minPixels: number(settings.min_pixels ?? size.shortest_edge ?? 56 * 56, "size.shortest_edge"),
    maxPixels: number(
      settings.max_pixels ?? size.longest_edge ?? 28 * 28 * 1280,
      "size.longest_edge",
    ),
  }
}

function smolSettings(settings: JsonObject, around: JsonObject, folder: string): SmolSettings {
  const number = reader(folder)
  const edge = (value: unknown) => (isObject(value) ? value.longest_edge : undefined)
  refuseOff(settings, ["do_resize", "do_pad"], folder)
  return {
    longestEdge: number(edge(settings.size) ?? 4 * 364, "size.longest_edge"),
    tileEdge: number(edge(settings.max_image_size) ?? 364, "max_image_size.longest_edge"),
    splits: settings.do_image_splitting !== false,
    tokensOfTile: number(around.image_seq_len ?? 169, "image_seq_len"),
  }
}

function refuseOff(settings: JsonObject, names: readonly string[], folder: string): void {
  const off = names.find((name) => settings[name] === false)
  if (off === undefined) return
  throw new InputError(`${folder}: "${off}": false of its image processor is not supported`)
}

const reader =
  (folder: string) =>
  (value: unknown, name: string): number => {
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number
    throw new InputError(
      `${folder}: expected "${name}" of its image processor to be a whole number above 0, got ${JSON.stringify(value)}`,
    )
  }
