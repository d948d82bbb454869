import type { Supervise } from "../config/index.ts"
import { assert, InputError } from "../errors.ts"
import type { ChatTemplate, Tokenizer } from "../text/index.ts"
import { type ChatTokens, chatTokens } from "./chat-tokens.ts"
import type { RowNote } from "./lints.ts"
import type { Example, Message, Turns } from "./row-shapes.ts"

/** Token classes beside the mask, for objectives that treat tokens differently. */
export const TOKEN_CLASS = { content: 0, endOfTurn: 1, template: 2 } as const

/** A tokenised sequence. */
export interface Rendered {
  /** [T] */
  readonly tokenIds: readonly number[]
  /** [T] */
  readonly lossMask: readonly number[]
  /** [T] */
  readonly tokenClass: readonly number[]
  /** Targets in lossMask; 0 when truncation left none. */
  readonly supervised: number
  readonly truncated: boolean
  readonly notes: readonly RowNote[]
}

export interface RenderOptions {
  readonly tokenizer: Tokenizer
  /** The chat template; null when the model has none. */
  readonly template: ChatTemplate | null
  /** Plain prompts and completions go through the template too. */
  readonly templateForPlain: boolean
  readonly supervise: Supervise
  readonly maxLength: number
  /** Ids that end generation: the tokenizer's EOS and what the model's configs name. */
  readonly stopIds: ReadonlySet<number>
}

/**
 * Tokenises an example and says which tokens are trained (docs/data.md). One sequence;
 * two, chosen and rejected, for a preference.
 *
 * @throws InputError with `where` when the example cannot be rendered.
 */
export function renderExample(example: Example, options: RenderOptions, where: string): Rendered[] {
  try {
    return sequencesOf(example, options).map((tokens) => finished(tokens, options))
  } catch (error) {
    if (error instanceof InputError) throw new InputError(`${where}: ${error.message}`)
    throw error
  }
}

function sequencesOf(example: Example, options: RenderOptions): ChatTokens[] {
  switch (example.kind) {
    case "text":
      return [plainTokens([], example.text, options, true)]
    case "chat":
      return [chat(example.messages, 0, options, example.tools)]
    case "completion":
      return [completion(example.prompt, example.completion, options, example)]
    case "preference":
      return [
        completion(example.prompt, example.chosen, options, {}),
        completion(example.prompt, example.rejected, options, {}),
      ]
  }
}

function completion(
  prompt: Turns,
  said: Turns,
  options: RenderOptions,
  { system, tools }: { readonly system?: string; readonly tools?: unknown },
): ChatTokens {
  if (typeof prompt === "string" && typeof said === "string") {
    if (!options.templateForPlain) {
      const instructions = system === undefined ? [] : [`${system}\n`]
      return plainTokens([...instructions, prompt].join(""), said, options, false)
    }
    const asked: Message[] = [
      ...(system === undefined ? [] : [{ role: "system", content: system }]),
      { role: "user", content: prompt },
    ]
    return chat([...asked, { role: "assistant", content: said }], asked.length, options, tools)
  }
  assert(
    typeof prompt !== "string" && typeof said !== "string",
    "prompt and completion of two kinds",
  )
  return chat([...prompt, ...said], prompt.length, options, tools)
}

/** Messages through the template; those before `firstTrained` are context only. */
function chat(
  messages: readonly Message[],
  firstTrained: number,
  { tokenizer, template, supervise }: RenderOptions,
  tools: unknown,
): ChatTokens {
  if (template === null) {
    throw new InputError(
      "expected a chat template for messages, and the model has none; give one with data.template, or use prompt and completion rows",
    )
  }
  return chatTokens(messages, { tokenizer, template, supervise, firstTrained, tools })
}

/** BOS if the tokenizer adds one, the prompt's ids, the completion's ids (on its own), EOS. */
function plainTokens(
  prompt: string | readonly [],
  said: string,
  { tokenizer, supervise }: RenderOptions,
  isText: boolean,
): ChatTokens {
  const { bosTokenId, eosTokenId, addsBos, specialTokenIds } = tokenizer
  if (eosTokenId === null) {
    throw new InputError(
      "expected the tokenizer to name an eos_token, got none; add it to tokenizer_config.json",
    )
  }
  const before = [
    ...(addsBos && bosTokenId !== null ? [bosTokenId] : []),
    ...(typeof prompt === "string" ? tokenizer.encode(prompt) : []),
  ]
  const tokenIds = [...before, ...tokenizer.encode(said), eosTokenId]
  const from = isText || supervise === "all" ? 0 : before.length
  const { content, endOfTurn, template } = TOKEN_CLASS
  return {
    tokenIds,
    lossMask: tokenIds.map((_, t) => (t < from ? 0 : 1)),
    tokenClass: tokenIds.map((id) =>
      id === eosTokenId ? endOfTurn : specialTokenIds.has(id) ? template : content,
    ),
    droppedRole: false,
  }
}

/** Cuts on the right, frees the first token (nothing predicts it), and notes what a user should know. */
function finished(tokens: ChatTokens, { maxLength, tokenizer, stopIds }: RenderOptions): Rendered {
  const { tokenIds, tokenClass, droppedRole } = tokens
  const lossMask = tokens.lossMask.map((mask, t) => (t === 0 ? 0 : mask))
  const truncated = tokenIds.length > maxLength
  const last = lossMask.lastIndexOf(1)
  const notes: RowNote[] = []
  if (truncated) {
    const cutsEos = last >= maxLength && tokenClass[last] === TOKEN_CLASS.endOfTurn
    notes.push(cutsEos ? "truncated-eos" : "truncated")
  } else if (last >= 0 && !stopIds.has(tokenIds[last]!)) {
    notes.push("unknown-eos")
  }
  const { bosTokenId } = tokenizer
  if (bosTokenId !== null && tokenIds[0] === bosTokenId && tokenIds[1] === bosTokenId)
    notes.push("double-bos")
  if (droppedRole) notes.push("dropped-role")
  const kept = lossMask.slice(0, maxLength)
  const supervised = kept.reduce((sum, mask) => sum + mask, 0)
  const says = kept.some((mask, t) => mask === 1 && tokenClass[t] === TOKEN_CLASS.content)
  if (supervised > 0 && !says) notes.push("empty-answer")
  return {
    tokenIds: tokenIds.slice(0, maxLength),
    lossMask: kept,
    tokenClass: tokenClass.slice(0, maxLength),
    supervised,
    truncated,
    notes,
  }
}

/** What identifies a row's question when sets are compared. */
export function promptText(example: Example): string {
  return comparable(spoken(example))
}

/** Letter case and white space do not make another question. */
export function comparable(text: string): string {
  return text.toLowerCase().replaceAll(/\s+/g, " ").trim()
}

function spoken(example: Example): string {
  if (example.kind === "text") return example.text
  const asked = example.kind === "chat" ? example.messages : example.prompt
  if (typeof asked === "string") return asked
  return asked
    .filter(({ role }) => role === "user")
    .map(({ content }) => content)
    .join("\n")
}
