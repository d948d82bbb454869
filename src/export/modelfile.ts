import { assert } from "../errors.ts"
import type { ChatMessage, ChatTemplate } from "../text/index.ts"

/** How a conversation is written, as far as fixed texts around each message can say it. */
export interface Turns {
  /** From the beginning to the first user message, when nobody says anything else. */
  readonly opening: string
  /** Before and after a system message that comes first; null: the template takes none. */
  readonly system: readonly [before: string, after: string] | null
  /** From a user message to the assistant's answer. */
  readonly afterUser: string
  /** From an answer to the next user message. */
  readonly afterAssistant: string
}

/** Texts that no template holds. */
const MARKS = ["⟦1⟧", "⟦2⟧", "⟦3⟧", "⟦4⟧", "⟦5⟧", "⟦6⟧"]

/**
 * What stands around and between the messages; undefined when they are not all there, once, in
 * order.
 */
function between(template: ChatTemplate, roles: readonly string[]): string[] | undefined {
  const messages = roles.map((role, i): ChatMessage => ({ role, content: MARKS[i]! }))
  let text: string
  try {
    text = template.render(messages, { addGenerationPrompt: true })
  } catch {
    return undefined // it refuses these roles
  }
  const parts: string[] = []
  let rest = text
  for (const mark of MARKS.slice(0, roles.length)) {
    const pieces = rest.split(mark)
    if (pieces.length !== 2) return undefined
    parts.push(pieces[0]!)
    rest = pieces[1]!
  }
  return [...parts, rest]
}

const all = (texts: readonly (string | undefined)[], same: string | undefined): boolean =>
  same !== undefined && texts.every((text) => text === same)

/**
 * Takes a chat template apart, by rendering conversations of known messages.
 *
 * @returns undefined for a template that does more than put fixed texts around messages
 */
export function turnsOf(template: ChatTemplate): Turns | undefined {
  const [user, assistant] = ["user", "assistant"]
  const one = between(template, [user])
  const three = between(template, [user, assistant, user, assistant, user])
  const [opening, afterUser] = one ?? []
  const [begins, u1, a1, u2, a2, u3] = three ?? []
  if (opening === undefined || begins !== opening) return undefined
  if (!all([u1, u2, u3], afterUser) || !all([a2], a1)) return undefined
  const told = between(template, ["system", user, assistant, user])
  const [before, after, s1, s2, s3] = told ?? []
  const alike = all([s1, s3], afterUser) && all([s2], a1)
  const system = alike ? ([before!, after!] as const) : null
  assert(afterUser !== undefined && a1 !== undefined, "turnsOf: a part is missing")
  return { opening, system, afterUser, afterAssistant: a1 }
}

/** Fixed text inside a Go template: a brace might open an action, so it is quoted. */
const literal = (text: string): string => text.replaceAll("{", '{{ "{" }}')

/**
 * The turns as a Go template of Ollama, which gives it `.System` and `.Messages`. Its runner puts
 * BOS before every prompt where the tokenizer does, so that the template must not.
 */
export function goTemplate(
  { opening, system, afterUser, afterAssistant }: Turns,
  { bos }: { readonly bos: string | null },
): string {
  const withoutBos = (text: string): string =>
    literal(bos !== null && text.startsWith(bos) ? text.slice(bos.length) : text)
  const first = withoutBos(opening)
  const begin =
    system === null
      ? first
      : `{{ if .System }}${withoutBos(system[0])}{{ .System }}${literal(system[1])}{{ else }}${first}{{ end }}`
  return (
    `${begin}{{ range $i, $message := .Messages }}` +
    `{{ if eq $message.Role "user" }}{{ $message.Content }}${literal(afterUser)}` +
    `{{ else if eq $message.Role "assistant" }}{{ $message.Content }}` +
    // The last answer is left open, to be gone on with.
    `{{ if ne (len (slice $.Messages $i)) 1 }}${literal(afterAssistant)}{{ end }}` +
    `{{ end }}{{ end }}`
  )
}

/** What Ollama's parser drops without a word: it keeps what Go calls printable, and line breaks. */
const DROPPED = /(?![ \n])[\p{C}\p{Z}]/u

/**
 * A text of a Modelfile, which knows quotes but no escapes; undefined when it cannot be written.
 */
function quoted(text: string): string | undefined {
  if (DROPPED.test(text)) return undefined
  if (!text.includes('"') && !text.includes("\n")) return `"${text}"`
  return text.includes('"""') || text.startsWith('"') || text.endsWith('"')
    ? undefined
    : `"""${text}"""`
}

export interface ModelfileParts {
  /** The GGUF file beside it. */
  readonly file: string
  /** A Go template; null: Ollama's own choice. */
  readonly template: string | null
  /** Texts that end an answer. */
  readonly stops: readonly string[]
  readonly contextLength: number
}

/** A Modelfile, as `ollama create NAME -f Modelfile` reads it. */
export function modelfile({ file, template, stops, contextLength }: ModelfileParts): string {
  const text = template === null ? undefined : quoted(template)
  return [
    `FROM ./${file}`,
    ...(text === undefined ? [] : [`TEMPLATE ${text}`]),
    `PARAMETER num_ctx ${contextLength}`,
    ...stops.flatMap((stop) => {
      const text = quoted(stop)
      return text === undefined ? [] : [`PARAMETER stop ${text}`]
    }),
    "",
  ].join("\n")
}
