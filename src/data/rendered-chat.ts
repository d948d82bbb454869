import { InputError } from "../errors.ts"
import type { ChatTemplate } from "../text/index.ts"
import { pythonJson } from "../text/jinja/python-json.ts"
import { unfinishedText } from "../text/unfinished-message.ts"
import type { Message } from "./rows/index.ts"
import { type ToolCall, wrappedCall } from "./rows/tool-calls.ts"
import { type RenderedChat, writesCalls } from "./unwritten.ts"

/** Messages with what a template may want to know beside them. */
export interface Conversation {
  readonly messages: readonly Message[]
  readonly tools?: unknown
  /** Further variables of the template. */
  readonly variables?: Readonly<Record<string, unknown>> | undefined
  /** Messages that say they are not to be trained. */
  readonly context?: readonly number[] | undefined
  /** What a template that asks for the time is told; left out: the clock. */
  readonly now?: Date | undefined
  /** What a model that is asked goes on from. */
  readonly goesOn?: GoesOn | undefined
}

/** The beginning of its turn (left out); the end of what the last message says; the whole chat. */
export type GoesOn = "turn" | "message" | "chat"

/** Llama 3's templates write today's date unless told one; this is the date they fall back to. */
const FIXED_VARIABLES = { date_string: "26 Jul 2024" }

/**
 * A conversation through the template, with what the assistant says in it. Templates read calls in
 * different forms; the first form that the template writes in full is taken.
 *
 * @throws InputError when the template refuses the messages
 */
export function renderedChat(conversation: Conversation, template: ChatTemplate): RenderedChat {
  const options = templateOptions(conversation)
  const attempt = (messages: readonly Message[]): RenderedChat => ({
    ...template.renderWithSpans(messages, options),
    messages,
    tools: conversation.tools,
    again: (others) => template.render(others, options),
  })
  return firstThat(writesCalls, conversation.messages, attempt)
}

/** The text up to where the assistant speaks: what a model is asked. */
export function askedText(conversation: Conversation, template: ChatTemplate): string {
  const { goesOn = "turn" } = conversation
  const options = templateOptions(conversation)
  const attempt = (messages: readonly Message[]) => ({
    text:
      goesOn === "message"
        ? unfinishedText(messages, template, options)
        : template.render(messages, { ...options, addGenerationPrompt: goesOn === "turn" }),
    spans: [],
    messages,
  })
  return firstThat(writesCalls, conversation.messages, attempt).text
}

const templateOptions = ({ tools, variables, now }: Conversation) => ({
  ...(tools === undefined ? {} : { tools }),
  ...(now === undefined ? {} : { now }),
  variables: { ...FIXED_VARIABLES, ...variables },
})

/** The first form of the calls that is written in full, else the first that is written at all. */
function firstThat<T>(
  fits: (rendered: T) => boolean,
  messages: readonly Message[],
  render: (messages: readonly Message[]) => T,
): T {
  let refused: unknown
  let first: T | undefined
  for (const form of callForms(messages)) {
    try {
      const rendered = render(form)
      if (fits(rendered)) return rendered
      first ??= rendered
    } catch (error) {
      if (!(error instanceof InputError)) throw error
      refused ??= error
    }
  }
  if (first !== undefined) return first
  throw refused
}

/**
 * As the row has them; with `function` around each and without; with the arguments as JSON text.
 */
function* callForms(messages: readonly Message[]): Generator<readonly Message[]> {
  yield messages
  if (!messages.some(({ tool_calls }) => Array.isArray(tool_calls))) return
  const changed = (change: (call: ToolCall) => ToolCall): Message[] =>
    messages.map((message) =>
      Array.isArray(message.tool_calls)
        ? { ...message, tool_calls: (message.tool_calls as ToolCall[]).map(change) }
        : message,
    )
  const wrapped = (call: ToolCall) => ("function" in call ? call : wrappedCall(call))
  yield changed(wrapped)
  yield changed(({ id, ...call }) => ({
    ...(id === undefined ? {} : { id }),
    ...(("function" in call ? call.function : call) as object),
  }))
  yield changed((call) => {
    const { function: called, ...rest } = wrapped(call)
    const { arguments: given } = called as { arguments: unknown }
    const text = typeof given === "string" ? given : pythonJson(given)
    return { ...rest, function: { ...(called as object), arguments: text } }
  })
}
