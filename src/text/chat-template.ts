import { InputError } from "../errors.ts"
import { finishedSpans, generationSpans, markedSource } from "./assistant-spans.ts"
import type { AssistantSpan, ChatMessage, RenderOptions } from "./chat-message.ts"
import { rememberingRenderer } from "./chat-recipes.ts"
import { type JinjaNode, parseJinja, renderJinja } from "./jinja.ts"

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
  /** Off: the template is interpreted for each chat. Tests hold the quick way to this one. */
  readonly remember?: boolean
}

type Renderer = (messages: readonly ChatMessage[], options: RenderOptions) => string

function compiled({ path, tokens, remember = true }: TemplateSource, source: string): Renderer {
  let program: JinjaNode
  try {
    program = parseJinja(source)
  } catch (error) {
    // the parser runs off the end of a template that is cut short
    const why = error instanceof TypeError ? "it ends too early" : (error as Error).message
    throw new InputError(`${path}: the chat template does not parse: ${why}`)
  }
  const variablesOf = (messages: readonly ChatMessage[], options: RenderOptions) => ({
    ...tokens,
    tools: options.tools ?? null, // there, but none: as Transformers passes them
    documents: null,
    ...options.variables,
    messages,
    add_generation_prompt: options.addGenerationPrompt ?? false,
  })
  const render: Renderer = remember
    ? rememberingRenderer(program, variablesOf)
    : (messages, options) => renderJinja(program, variablesOf(messages, options))
  return (messages, options) => {
    try {
      return render(messages, options)
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
  const { path, specialTokens } = from
  const source = from.source.replaceAll("\r\n", "\n") // as Jinja reads it
  const render = compiled(from, source)
  const marked = markedSource(source)
  const renderMarked = marked === undefined ? undefined : compiled(from, marked)
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
