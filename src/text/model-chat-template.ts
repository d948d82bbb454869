import { InputError } from "../errors.ts"
import { type Folder, objectIn, textIn } from "../formats/folder.ts"
import { isObject, type JsonObject } from "../formats/json.ts"
import { type ChatTemplate, chatTemplate } from "./chat-template.ts"
import { namedToken } from "./tokenizer-files.ts"

export const MAX_TEMPLATE_BYTES = 1e6
const MAX_TOKENIZER_BYTES = 256e6

/** A template's text, and the path it is known by. */
export interface TemplateText {
  readonly path: string
  readonly source: string
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
 * @param own a template to use in place of the model's.
 * @throws InputError naming the file when it is not readable or does not parse
 */
export async function chatTemplateIn(
  folder: Folder,
  own?: TemplateText,
): Promise<ChatTemplate | null> {
  const config = (await objectIn(folder, "tokenizer_config.json", MAX_TOKENIZER_BYTES)) ?? {}
  const found = own ?? (await findTemplate(folder, config))
  if (!found) return null
  const tokenizer = (await objectIn(folder, "tokenizer.json", MAX_TOKENIZER_BYTES)) ?? {}
  return chatTemplate({
    ...found,
    tokens: namedTokens(config),
    specialTokens: specialTexts(config, tokenizer),
  })
}

async function findTemplate(folder: Folder, config: JsonObject): Promise<TemplateText | undefined> {
  const beside = await textIn(folder, "chat_template.jinja", MAX_TEMPLATE_BYTES)
  if (beside !== undefined) return { path: folder.pathOf("chat_template.jinja"), source: beside }
  const inFile = async (name: string, object: JsonObject | undefined) => {
    const path = folder.pathOf(name)
    const source = templateText(object?.chat_template, path)
    return source === undefined ? undefined : { path, source }
  }
  return (
    (await inFile("chat_template.json", await objectIn(folder, "chat_template.json"))) ??
    inFile("tokenizer_config.json", config)
  )
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
