import { InputError } from "../errors.ts"
import { type Folder, objectIn, textIn } from "../formats/folder.ts"
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"
import type { RenderOptions } from "./chat-message.ts"
import { type ChatTemplate, chatTemplate } from "./chat-template.ts"
import { namedToken } from "./tokenizer-files.ts"

export const MAX_TEMPLATE_BYTES = 1e6
const MAX_TOKENIZER_BYTES = 256e6

/** A template's text, and the path it is known by. */
export interface TemplateText {
  readonly path: string
  readonly source: string
}

/** Templates that a model has by name: the one for any chat, and one for chats with tools. */
type NamedTemplates = { readonly [Name in "default" | "tool_use"]?: TemplateText }

/** Where Transformers 5 keeps templates beside chat_template.jinja. */
export const TOOL_TEMPLATE_FILE = "additional_chat_templates/tool_use.jinja"

/** A template, or several: a list of named ones, or a map. */
function namedTemplates(value: unknown, path: string): NamedTemplates | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === "string") return { default: { path, source: value } }
  const isList = Array.isArray(value)
  if (!isList && !isObject(value)) {
    throw new InputError(
      `${path}: expected "chat_template" to be text, or templates by name, got ${describeValue(value)}`,
    )
  }
  const named = new Map<unknown, unknown>(
    isList
      ? value.map((item) => (isObject(item) ? [item.name, item.template] : [undefined, undefined]))
      : Object.entries(value),
  )
  const text = (name: string) => {
    const source = named.get(name)
    return typeof source === "string" ? { [name]: { path, source } } : {}
  }
  const found = { ...text("default"), ...text("tool_use") }
  if (Object.keys(found).length > 0) return found
  throw new InputError(
    `${path}: expected "chat_template" to hold a template named "default" or "tool_use", got ${
      named.size === 0 ? "none" : [...named.keys()].map((name) => JSON.stringify(name)).join(", ")
    }; give one with data.template`,
  )
}

/**
 * The chat template of a model folder: chat_template.jinja, chat_template.json, or the one in
 * tokenizer_config.json, in that order, as Transformers reads them; where there is one for tools
 * beside it, that is taken for chats with tools. null when there is none.
 *
 * @param own a template to use in place of the model's.
 * @param inParts contents are handed over as lists of parts
 * @throws InputError naming the file when it is not readable or does not parse
 */
export async function chatTemplateIn(
  folder: Folder,
  own?: TemplateText,
  inParts = false,
): Promise<ChatTemplate | null> {
  const config = (await objectIn(folder, "tokenizer_config.json", MAX_TOKENIZER_BYTES)) ?? {}
  const found = own === undefined ? await findTemplates(folder, config) : { default: own }
  if (!found) return null
  const tokenizer = (await objectIn(folder, "tokenizer.json", MAX_TOKENIZER_BYTES)) ?? {}
  const tokens = namedTokens(config)
  const specialTokens = specialTexts(config, tokenizer)
  const compiled = (text: TemplateText | undefined) =>
    text && chatTemplate({ ...text, tokens, specialTokens, inParts })
  return chosenTemplate(compiled(found.default), compiled(found.tool_use))
}

/** As Transformers chooses: the template named `tool_use` for a chat with tools, else `default`. */
function chosenTemplate(
  plain: ChatTemplate | undefined,
  forTools: ChatTemplate | undefined,
): ChatTemplate {
  if (forTools === undefined) return plain!
  const pick = ({ tools }: RenderOptions): ChatTemplate => {
    const found = tools === undefined || tools === null ? plain : forTools
    if (found !== undefined) return found
    throw new InputError(
      `${forTools.path}: has a chat template named "tool_use" and none named "default", and this chat has no tools; give one with data.template`,
    )
  }
  return {
    path: (plain ?? forTools).path,
    source: [...(plain === undefined ? [] : [plain.source]), forTools.source].join("\n"),
    readsClock: forTools.readsClock || plain?.readsClock === true,
    render: (messages, options = {}) => pick(options).render(messages, options),
    renderWithSpans: (messages, options = {}) => pick(options).renderWithSpans(messages, options),
  }
}

/** Files of their own come before what tokenizer_config.json holds. */
async function findTemplates(
  folder: Folder,
  config: JsonObject,
): Promise<NamedTemplates | undefined> {
  const inFile = async (name: string, key: keyof NamedTemplates): Promise<NamedTemplates> => {
    const source = await textIn(folder, name, MAX_TEMPLATE_BYTES)
    return source === undefined ? {} : { [key]: { path: folder.pathOf(name), source } }
  }
  const files = {
    ...(await inFile("chat_template.jinja", "default")),
    ...(await inFile(TOOL_TEMPLATE_FILE, "tool_use")),
  }
  if (Object.keys(files).length > 0) return files
  const json = await objectIn(folder, "chat_template.json")
  return (
    namedTemplates(json?.chat_template, folder.pathOf("chat_template.json")) ??
    namedTemplates(config.chat_template, folder.pathOf("tokenizer_config.json"))
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
