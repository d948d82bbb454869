import { existsSync } from "node:fs"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { isObject, type JsonObject, readJsonObject, readTextFile } from "../formats/json.ts"
import { type ChatTemplate, chatTemplate } from "./chat-template.ts"
import { namedToken } from "./tokenizer-files.ts"

const MAX_TEMPLATE_BYTES = 1e6

async function optional(path: string): Promise<JsonObject> {
  return existsSync(path) ? readJsonObject(path, 256e6) : {}
}

/** A template, or several by name, of which `default` counts. */
function templateText(value: unknown, path: string): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === "string") return value
  if (Array.isArray(value)) {
    const found = value.find((item) => isObject(item) && item.name === "default")
    if (isObject(found) && typeof found.template === "string") return found.template
    throw new InputError(`${path}: "chat_template" is a list without one named "default"`)
  }
  throw new InputError(`${path}: expected "chat_template" to be text or a list of named templates`)
}

/**
 * The chat template of a model folder: chat_template.jinja, chat_template.json, or the one in
 * tokenizer_config.json, in that order, as Transformers reads them. null when there is none.
 *
 * @param file a .jinja file to use in place of the model's own.
 * @throws InputError naming the file when it is not readable or does not parse
 */
export async function loadChatTemplate(
  folder: string,
  { file }: { readonly file?: string } = {},
): Promise<ChatTemplate | null> {
  const configPath = join(folder, "tokenizer_config.json")
  const config = await optional(configPath)
  const found = await findTemplate(folder, file, config, configPath)
  if (!found) return null
  const tokenizer = await optional(join(folder, "tokenizer.json"))
  return chatTemplate({
    ...found,
    tokens: namedTokens(config),
    specialTokens: specialTexts(config, tokenizer),
  })
}

async function findTemplate(
  folder: string,
  file: string | undefined,
  config: JsonObject,
  configPath: string,
): Promise<{ readonly path: string; readonly source: string } | undefined> {
  if (file !== undefined) {
    if (!existsSync(file)) throw new InputError(`${file}: no such chat template file`)
    return { path: file, source: await readTextFile(file, MAX_TEMPLATE_BYTES) }
  }
  const beside = join(folder, "chat_template.jinja")
  if (existsSync(beside)) {
    return { path: beside, source: await readTextFile(beside, MAX_TEMPLATE_BYTES) }
  }
  const json = join(folder, "chat_template.json")
  if (existsSync(json)) {
    const source = templateText((await readJsonObject(json)).chat_template, json)
    if (source !== undefined) return { path: json, source }
  }
  const source = templateText(config.chat_template, configPath)
  return source === undefined ? undefined : { path: configPath, source }
}

/** bos_token, eos_token, ...: what templates refer to by name. */
function namedTokens(config: JsonObject): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const [key, value] of Object.entries(config)) {
    const text = key.endsWith("_token") ? namedToken(value) : null
    if (text !== null) tokens[key] = text
  }
  return tokens
}

/** The texts of all special tokens, from both of the tokenizer's files. */
function specialTexts(config: JsonObject, tokenizer: JsonObject): string[] {
  const texts = new Set(Object.values(namedTokens(config)))
  const declared = isObject(config.added_tokens_decoder)
    ? Object.values(config.added_tokens_decoder)
    : []
  const added = Array.isArray(tokenizer.added_tokens) ? tokenizer.added_tokens : []
  for (const token of [...declared, ...added]) {
    if (isObject(token) && token.special === true && typeof token.content === "string") {
      texts.add(token.content)
    }
  }
  return [...texts]
}
