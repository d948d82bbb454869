/** What a model of the hub needs here: never pickles, never code. */
export const MODEL_FILES =
  /^(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|dftune|adapter_config|model\.safetensors\.index|adapter_model\.safetensors\.index)\.json$|^merges\.txt$|^(additional_chat_templates\/)?[\w.-]+\.jinja$|^(model|adapter_model)[\w.-]*\.safetensors$/

// huggingface_hub's validate_repo_id: each part begins and ends with a word character
const REPO_ID = /^(\w([\w.-]{0,94}\w)?\/)?\w([\w.-]{0,94}\w)?$/

/**
 * Whether `name` looks like a repository on the hub, `name` or `owner/name`; `./name` is a path.
 */
export function isHubId(name: string): boolean {
  return REPO_ID.test(name) && !/\.\.|--/.test(name)
}

/** A file of a repository of the hub. */
export interface HubFile {
  readonly id: string
  readonly file: string
}

/**
 * `owner/name/FILE.gguf`, in a folder of the repository or in none; undefined for anything else.
 */
export function hubFile(name: string): HubFile | undefined {
  const [, id, file] = /^([^/]+\/[^/]+)\/((?:[\w.-]+\/)*[\w.-]+\.gguf)$/i.exec(name) ?? []
  if (id === undefined || file === undefined || !isHubId(id)) return undefined
  return /(^|\/)\.\.?(\/|$)/.test(file) ? undefined : { id, file }
}
