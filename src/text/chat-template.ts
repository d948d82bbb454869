import { InputError } from "../errors.ts"
import {
  type AssistantSpan,
  type ChatMessage,
  PICTURE,
  type RenderOptions,
} from "./chat-message.ts"
import { finishedSpans } from "./finished-spans.ts"
import { generationSpans } from "./generation-spans.ts"
import {
  type JinjaTemplate,
  jinjaTemplate,
  type Rendered,
  type RenderSettings,
} from "./jinja/template.ts"
import type { SpanSearch } from "./span-search.ts"

export interface ChatTemplate {
  /** The file it came from, for messages. */
  readonly path: string
  /** The Jinja text. */
  readonly source: string
  /** What it makes may be another text on another day. */
  readonly readsClock: boolean
  render(messages: readonly ChatMessage[], options?: RenderOptions): string
  /** The whole conversation, and exactly what the assistant says in it. */
  renderWithSpans(
    messages: readonly ChatMessage[],
    options?: Omit<RenderOptions, "addGenerationPrompt">,
  ): { readonly text: string; readonly spans: readonly AssistantSpan[] }
}

export interface TemplateSource {
  readonly path: string
  readonly source: string
  /** bos_token, eos_token and the like. */
  readonly tokens: Readonly<Record<string, string>>
  /** Every special token's text: one of them closes a turn. */
  readonly specialTokens: readonly string[]
  /** Contents are handed over as lists of parts, as processors of pictures do. */
  readonly inParts?: boolean | undefined
}

/**
 * Names of a message's reasoning, the standard one first (transformers, chat_template_utils.py).
 */
export const REASONING = ["reasoning_content", "thinking", "reasoning"]

/**
 * A message as Transformers hands it to a template: without what is null, and its reasoning under
 * the standard name and under gpt-oss' own.
 */
function templateMessage(message: ChatMessage): ChatMessage {
  const entries = Object.entries(message)
  const isPlain = entries.every(([key, value]) => value !== null && !REASONING.includes(key))
  if (isPlain) return message
  const given: Record<string, unknown> = { ...message }
  for (const [key, value] of entries) if (value === null) delete given[key]
  const name = REASONING.find((key) => given[key] !== undefined)
  if (name === undefined) return given as ChatMessage
  const reasoning = given[name]
  return { thinking: reasoning, ...(given as ChatMessage), reasoning_content: reasoning }
}

/** Texts and pictures in their order, as Transformers hands them to a template. */
function partsOf({ pictures, ...message }: ChatMessage): object {
  const texts = pictures === undefined ? [message.content] : message.content.split(PICTURE)
  const parts = texts.flatMap((text, i) => [
    ...(i === 0 ? [] : [{ type: "image" }]),
    ...(text === "" && texts.length > 1 ? [] : [{ type: "text", text }]),
  ])
  return { ...message, content: parts }
}

type Renderer = (
  messages: readonly ChatMessage[],
  options: RenderOptions,
  settings?: Pick<RenderSettings, "marks" | "traced">,
) => Rendered

function compiled({ path, source, tokens, inParts = false }: TemplateSource): Renderer {
  let template: JinjaTemplate
  try {
    template = jinjaTemplate(source)
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    throw new InputError(`${path}: the chat template does not parse: ${error.message}`)
  }
  return (messages, { addGenerationPrompt = false, tools, variables, now }, settings) => {
    const given = {
      ...tokens,
      tools: tools ?? null, // there, but none: as Transformers passes them
      documents: null,
      ...variables,
      messages: messages.map((message) => {
        const given = templateMessage(message)
        return inParts ? partsOf(given) : given
      }),
      add_generation_prompt: addGenerationPrompt,
    }
    try {
      return template.render(given, { ...settings, now })
    } catch (error) {
      if (!(error instanceof InputError)) throw error
      const roles = messages
        .map(({ role }) => role)
        .join(", ")
        .slice(0, MOST_SAID)
      throw new InputError(
        `${path}: the chat template refuses these messages (${roles}): ${error.message.slice(0, MOST_SAID)}`,
      )
    }
  }
}

/** Of what a template says when it refuses: it may say megabytes. */
const MOST_SAID = 1000

/** Compiles a template. @throws InputError when it does not parse */
export function chatTemplate(from: TemplateSource): ChatTemplate {
  const { path, source, specialTokens } = from
  const render = compiled(from)
  const hasBlocks = /\{%[-+]?\s*generation\s*[-+]?%\}/.test(source)
  return {
    path,
    source,
    readsClock: source.includes("strftime_now"),
    render: (messages, options = {}) => render(messages, options).text,
    renderWithSpans(messages, options = {}) {
      const { text } = render(messages, options)
      const search: SpanSearch = {
        text,
        path,
        specialTokens,
        render: (others, addGenerationPrompt) =>
          render(others, { ...options, addGenerationPrompt }).text,
        traced: (others) => render(others, options, { traced: true }),
        marked: (others, marks) => render(others, options, { marks }).text,
      }
      const spans = hasBlocks ? generationSpans(messages, search) : finishedSpans(messages, search)
      return { text, spans }
    },
  }
}
