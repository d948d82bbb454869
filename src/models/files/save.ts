import { existsSync } from "node:fs"
import { copyFile, mkdir, readdir, stat } from "node:fs/promises"
import { dirname, join } from "node:path"
import { writeCheckpoint, writeFileAtomic } from "../../formats/index.ts"
import { jsonLike } from "../../formats/json.ts"
import { refuseLinkOut } from "../../formats/link-out.ts"
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
  for (const name of await readdir(from)) {
    if (!SIDE_FILES.test(name)) continue
    const path = join(from, name)
    if (!(await stat(path)).isFile()) continue
    refuseLinkOut(from, name)
    await copyFile(path, join(to, name))
  }
  const forTools = join(from, TOOL_TEMPLATE_FILE)
  if (!existsSync(forTools)) return
  refuseLinkOut(from, TOOL_TEMPLATE_FILE)
  await mkdir(dirname(join(to, TOOL_TEMPLATE_FILE)), { recursive: true })
  await copyFile(forTools, join(to, TOOL_TEMPLATE_FILE))
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
