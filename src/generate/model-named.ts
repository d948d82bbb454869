/**
 * The word that names a model: a folder, a run, a hub id; or the config that a run was made with.
 */
import { existsSync } from "node:fs"
import { basename, dirname } from "node:path"
import { loadConfig } from "../config/load-config.ts"
import { isRunFolder } from "../config/run-record.ts"
import { InputError } from "../errors.ts"
import { commandLine } from "../host/invocation.ts"
import { statOf } from "../host/stat.ts"

const CONFIG_FILE = /\.(ya?ml|json|[cm]?[jt]s)$/i

/**
 * The model that a word means. A config file stands for the newest run of it, whether that is over
 * or still going on; a run's own config.json for its folder. Any other word is as it is.
 *
 * @throws InputError for a config that is wrong, or that no run was made with yet
 */
export async function modelNamed(
  word: string,
  onNotice?: (message: string) => void,
): Promise<string> {
  if (!CONFIG_FILE.test(word) || !statOf(word)?.isFile()) return word
  if (basename(word) === "config.json") {
    const folder = dirname(word)
    if (isRunFolder(folder) || existsSync(`${folder}/model.safetensors`)) return folder
  }
  const { output_dir: folder } = await loadConfig(word, { set: ["resume=true"] })
  if (!isRunFolder(folder)) {
    throw new InputError(
      `${word}: there is no run of this config yet (${folder}); ${commandLine("train", word)} makes one`,
    )
  }
  onNotice?.(`${word}: its run ${folder}`)
  return folder
}
