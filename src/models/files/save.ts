import { lstatSync, readdirSync } from "node:fs"
import { copyFile, mkdir } from "node:fs/promises"
import { dirname, join } from "node:path"
import { InputError } from "../../errors.ts"
import { writeCheckpoint, writeFileAtomic } from "../../formats/index.ts"
import { jsonLike } from "../../formats/json.ts"
import { refuseLinkOut } from "../../formats/link-out.ts"
import { statOf } from "../../host/stat.ts"
import { TOOL_TEMPLATE_FILE } from "../../text/model-chat-template.ts"
import type { CheckpointDtype, ModelConfig } from "../families/model-config.ts"
import type { TensorSource } from "../families/shape.ts"
import { storedTensors } from "./stored-tensors.ts"

export interface SaveOptions {
  /** Its config.json is written as it was read, with its dtype set to `dtype`. */
  readonly config: Pick<ModelConfig, "json" | "text">
  readonly tensors: readonly TensorSource[]
  readonly dtype: CheckpointDtype
  /** Where the tokenizer's and generation's files are copied from. */
  readonly source: string
}

/** Files beside the weights that belong to a model, by their names on the hub. */
const SIDE_FILES =
  /^(tokenizer(_config)?\.(json|model)|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt|generation_config\.json|chat_template\.(jinja|json)|dftune\.json)$/

/**
 * Copies tokenizer, template and generation settings from one model folder to another.
 *
 * @throws InputError for a link out of the folder: what it leads to may be anybody's, and results
 * are published
 */
export async function copySideFiles(from: string, to: string): Promise<void> {
  for (const name of sideFiles(from)) {
    await mkdir(dirname(join(to, name)), { recursive: true })
    await copyFile(join(from, name), join(to, name))
  }
}

/**
 * The files beside a model's weights, by their names in its folder. Whoever copies them only at the
 * end of a run looks here before it begins.
 *
 * @throws InputError for a link out of the folder, one that leads nowhere, and for a device or pipe
 */
export function sideFiles(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => SIDE_FILES.test(name))
  return [...names, TOOL_TEMPLATE_FILE].filter((name) => isSideFile(folder, name))
}

function isSideFile(folder: string, name: string): boolean {
  const path = join(folder, name)
  const there = statOf(path)
  if (there === undefined) {
    if (!lstatSync(path, { throwIfNoEntry: false })) return false
    throw new InputError(`${path}: is a link that leads nowhere; remove it, or put the file there`)
  }
  if (there.isDirectory()) return false
  if (!there.isFile()) throw new InputError(`${path}: expected a file, got a device or pipe`)
  refuseLinkOut(folder, name)
  return true
}

/**
 * Writes a model folder in Hugging Face's layout: config.json, model.safetensors (sharded past
 * 5 GB), and the files beside them. The folder must exist.
 */
export async function saveModel(
  folder: string,
  { config: { json, text }, tensors, dtype, source }: SaveOptions,
): Promise<void> {
  await writeCheckpoint(folder, storedTensors(tensors, dtype))
  const { torch_dtype: _, dtype: __, ...rest } = json
  // Transformers 4 reads the first, Transformers 5 the second; each ignores the other.
  const config = { ...rest, torch_dtype: dtype, dtype }
  const written = jsonLike(config, text ?? "null")
  await writeFileAtomic(join(folder, "config.json"), `${written}\n`)
  await copySideFiles(source, folder)
}
