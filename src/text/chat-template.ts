import { InputError } from "../run/errors.ts"
import { finishedSpans, generationSpans, markedSource } from "./assistant-spans.ts"
import { compileJinja } from "./jinja.ts"

export interface ChatMessage {
  readonly role: string
  readonly content: string
  readonly [key: string]: unknown
}

export interface RenderOptions {
  /** Ends where the assistant begins to speak. */
  readonly addGenerationPrompt?: boolean
  readonly tools?: unknown
  /** Further variables that the template reads. */
  readonly variables?: Readonly<Record<string, unknown>>
}

/** What an assistant message says, in UTF-16 units of the rendered text. */
export interface AssistantSpan {
  /** Index of the message. */
  readonly message: number
  /** Where the model begins to speak. */
  readonly start: number
  /** Where what it says ends. */
  readonly end: number
  /** After the token that closes the turn; `end` where there is none. */
  readonly turnEnd: number
}

export interface ChatTemplate {
  /** The file it came from, for messages. */
  readonly path: string
  /** The Jinja text. */
  readonly source: string
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
}

type Renderer = (messages: readonly ChatMessage[], options: RenderOptions) => string

function compiled(path: string, source: string, tokens: TemplateSource["tokens"]): Renderer {
  let template: ReturnType<typeof compileJinja>
  try {
    template = compileJinja(source)
  } catch (error) {
    throw new InputError(`${path}: the chat template does not parse: ${(error as Error).message}`)
  }
  return (messages, { addGenerationPrompt = false, tools, variables = {} }) => {
    try {
      return template({
        ...tokens,
        tools: tools ?? null, // there, but none: as Transformers passes them
        documents: null,
        ...variables,
        messages,
        add_generation_prompt: addGenerationPrompt,
      })
    } catch (error) {
      throw new InputError(
        `${path}: the chat template refuses these messages (${roles(messages)}): ${(error as Error).message}`,
      )
    }
  }
}

const roles = (messages: readonly ChatMessage[]) => messages.map(({ role }) => role).join(", ")

/** Compiles a template. @throws InputError when it does not parse */
export function chatTemplate(from: TemplateSource): ChatTemplate {
  const { path, tokens, specialTokens } = from
  const source = from.source.replaceAll("\r\n", "\n") // as Jinja reads it
  const render = compiled(path, source, tokens)
  const marked = markedSource(source)
  const renderMarked = marked === undefined ? undefined : compiled(path, marked, tokens)
  return {
    path,
    source,
    render: (messages, options = {}) => render(messages, options),
    renderWithSpans(messages, options = {}) {
      const text = render(messages, options)
      const search = {
        text,
        path,
        specialTokens,
        render: (m: readonly ChatMessage[], add: boolean) =>
          render(m, { ...options, addGenerationPrompt: add }),
      }
      const spans = renderMarked
        ? generationSpans(messages, { ...search, marked: (m) => renderMarked(m, options) })
        : finishedSpans(messages, search)
      return { text, spans }
    },
  }
}
