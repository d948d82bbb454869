import type { ChatMessage, RenderOptions } from "./chat-message.ts"
import {
  type JinjaNode,
  type JinjaVariables,
  jinjaEnvironment,
  renderJinja,
  strftimeNow,
} from "./jinja.ts"
import { tracingInterpreter } from "./jinja-trace.ts"
import {
  chatText,
  type Guard,
  type Piece,
  type Trace,
  textOf,
  tracedPieces,
} from "./traced-text.ts"

/** What a template makes of every chat of one structure whose texts answer the guards alike. */
type Recipe = { readonly guards: readonly Guard[] } & (
  | { readonly pieces: readonly Piece[] }
  | { readonly refusal: string }
)

interface Known {
  readonly recipes: Recipe[]
  /** Chats of this structure that no recipe fitted. */
  traces: number
}

/** After so many, chats of a structure that no recipe fits are interpreted without being traced. */
const MAX_TRACES = 16
/** Structures that are remembered, and words of the template's in them (UTF-16 units). */
const MAX_STRUCTURES = 1_000
const MAX_WORDS = 4_000_000

interface Chat {
  readonly structure: string
  readonly texts: readonly string[]
}

/**
 * Renders chats, and remembers by a chat's structure (roles, keys, number of messages) what the
 * template makes of it, so that the template runs once for many chats. What is remembered holds
 * for any texts by construction: where the template looked into a text in any way but the guards',
 * nothing is remembered. Such chats, and those with tool calls or tools, are interpreted each time.
 *
 * @param variables the template's variables for a chat.
 */
export function rememberingRenderer(
  program: JinjaNode,
  variables: (messages: readonly ChatMessage[], options: RenderOptions) => JinjaVariables,
): (messages: readonly ChatMessage[], options: RenderOptions) => string {
  const book = new Map<string, Known>()
  let words = 0

  const traced = (chat: Chat, known: Known, given: JinjaVariables): Recipe => {
    const trace: Trace = { texts: chat.texts, guards: [], lost: false }
    const recipe = traceChat(program, given, trace)
    if (book.size >= MAX_STRUCTURES || words > MAX_WORDS) {
      book.clear()
      words = 0
    }
    known.traces++
    if (!trace.lost) {
      known.recipes.push(recipe)
      words += wordsOf(recipe)
    }
    book.set(chat.structure, known)
    return recipe
  }

  return (messages, options) => {
    const chat = chatOf(messages, options)
    if (chat === undefined) return renderJinja(program, variables(messages, options))
    const known = book.get(chat.structure) ?? { recipes: [], traces: 0 }
    const fits = ({ guards }: Recipe) => guards.every((it) => it.ask(chat.texts) === it.answer)
    const found = known.recipes.find(fits)
    if (found !== undefined) return followed(found, chat.texts)
    const given = variables(messages, options)
    return known.traces < MAX_TRACES
      ? followed(traced(chat, known, given), chat.texts)
      : renderJinja(program, given)
  }
}

function followed(recipe: Recipe, texts: readonly string[]): string {
  if ("refusal" in recipe) throw new Error(recipe.refusal)
  return textOf(recipe.pieces, texts)
}

function wordsOf(recipe: Recipe): number {
  if ("refusal" in recipe) return recipe.refusal.length
  return recipe.pieces.reduce(
    (sum, piece) => sum + (typeof piece === "string" ? piece.length : 8),
    0,
  )
}

/** What a message says under any key but its role is a text to follow. */
const isFollowed = (key: string) => key !== "role"

/**
 * All that a rendering depends on but the texts: written so that two structures never look alike.
 * undefined where a message holds more than texts and flags, or tools are given.
 */
function chatOf(messages: readonly ChatMessage[], options: RenderOptions): Chat | undefined {
  const { addGenerationPrompt = false, tools, variables = {} } = options
  if (tools !== undefined && tools !== null) return undefined
  let structure = addGenerationPrompt ? "prompt;" : "whole;"
  for (const [name, value] of Object.entries(variables)) {
    if (!isFlag(value) && typeof value !== "string") return undefined
    structure += `${named(name)}${typeof value === "string" ? named(value) : `${value};`}`
  }
  const texts: string[] = []
  for (const message of messages) {
    structure += "|"
    for (const key in message) {
      const value = message[key]
      structure += named(key)
      if (typeof value !== "string") {
        if (!isFlag(value)) return undefined
        structure += `${value};`
      } else if (isFollowed(key)) texts.push(value)
      else structure += named(value)
    }
  }
  return { structure, texts }
}

const named = (text: string) => `${text.length}:${text}`
const isFlag = (value: unknown) => value === null || typeof value === "boolean"

interface MessageValue {
  readonly value: Map<string, { readonly type: string }>
}

/** Renders a chat with its texts traced; what comes back holds for others unless the trace is lost. */
function traceChat(program: JinjaNode, variables: JinjaVariables, trace: Trace): Recipe {
  const { guards } = trace
  const environment = jinjaEnvironment({
    ...variables,
    strftime_now: (format: string) => {
      trace.lost = true // another time gives another text
      return strftimeNow(format)
    },
  })
  let index = 0
  for (const { value } of environment.lookupVariable("messages")
    .value as unknown as MessageValue[]) {
    for (const [key, { type }] of value) {
      if (type === "StringValue" && isFollowed(key)) value.set(key, chatText(trace, index++))
    }
  }
  try {
    return { guards, pieces: tracedPieces(tracingInterpreter(environment, trace).run(program)) }
  } catch (error) {
    if (error instanceof RangeError) trace.lost = true // a stack too deep here need not be one again
    return { guards, refusal: (error as Error).message }
  }
}
