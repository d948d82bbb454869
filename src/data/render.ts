import type { Supervise } from "../config/index.ts"
import { assert, InputError } from "../errors.ts"
import type { ChatTemplate, Tokenizer } from "../text/index.ts"
import { type ChatTokens, chatTokens } from "./chat-tokens.ts"
import type { RowNote } from "./lints.ts"
import { checkSharedPrompt, isInside } from "./pair-faults.ts"
import { expanded, type PictureReader, type PlacedPicture, readPictures } from "./pictures/index.ts"
import { askedText, type Conversation } from "./rendered-chat.ts"
import type { Example, RowPrompt, Sampled, Turns } from "./rows/index.ts"
import { TOKEN_CLASS } from "./token-class.ts"

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
  /** In the order of their tokens; left out: none. */
  readonly pictures?: readonly PlacedPicture[]
}

/**
 * Which texts go through the chat template: `auto` the questions, `none` no plain text at all,
 * `all` every one of them. Messages always do.
 */
export type PlainTexts = "auto" | "none" | "all"

export interface RenderOptions {
  readonly tokenizer: Tokenizer
  /** The chat template; null when the model has none. */
  readonly template: ChatTemplate | null
  readonly plainTexts: PlainTexts
  readonly supervise: Supervise
  readonly maxLength: number
  /** Ids that end generation: the tokenizer's EOS and what the model's configs name. */
  readonly stopIds: ReadonlySet<number>
  /** What a template that asks for the time is told; left out: the clock. */
  readonly now?: Date
  /** Of a model that reads pictures. */
  readonly pictures?: PictureReader | undefined
}

/**
 * Tokenises an example and says which tokens are trained (docs/data.md). One sequence;
 * two, chosen and rejected, for a preference.
 *
 * @throws InputError with `where` when the example cannot be rendered.
 */
export function renderExample(example: Example, options: RenderOptions, where: string): Rendered[] {
  try {
    const { pictures: reader } = options
    const pictures = reader ? readPictures(example, reader, where) : []
    const sides = sequencesOf(example, options)
      .map((tokens) => (reader ? expanded(tokens, pictures, reader) : tokens))
      .map((tokens) => finished(tokens, options))
    return isInside(sides) ? sides.map(withNote("side-inside")) : sides
  } catch (error) {
    if (error instanceof InputError) throw new InputError(`${where}: ${error.message}`)
    throw error
  }
}

const withNote =
  (note: RowNote) =>
  (side: Rendered): Rendered => ({ ...side, notes: [...side.notes, note] })

function sequencesOf(example: Example, options: RenderOptions): ChatTokens[] {
  switch (example.kind) {
    case "text":
      return [plainTokens("", example.text, options, { isText: true })]
    case "chat":
      return [chat(example, 0, options)]
    case "completion":
      return [completion(example, options)]
    case "preference": {
      const { chosen, rejected, kind: _kind, ...asked } = example
      const sides = [chosen, rejected].map((said) =>
        completion({ kind: "completion", ...asked, completion: said }, options),
      )
      if (options.supervise !== "all") checkSharedPrompt(sides)
      return sides
    }
  }
}

type Completion = Extract<Example, { readonly kind: "completion" }>

/** What decides how a text is laid out. */
export interface LayoutParts {
  /** The model has a chat template. */
  readonly hasTemplate: boolean
  readonly plainTexts: PlainTexts
}

export const layoutParts = ({
  template,
  plainTexts,
}: Pick<RenderOptions, "template" | "plainTexts">): LayoutParts => ({
  hasTemplate: template !== null,
  plainTexts,
})

/** What is put before an answer: a text as it is, or messages for the template. */
export type Asked = string | Conversation

/** What a row asks, as `plainTexts` has it: the one place that decides a question's layout. */
export function askedOf(
  { prompt, question, system, tools, variables, context }: RowPrompt,
  { hasTemplate, plainTexts }: LayoutParts,
): Asked {
  if (typeof prompt !== "string") return { messages: prompt, tools, variables, context }
  const isTurn = plainTexts === "all" || (plainTexts === "auto" && question && hasTemplate)
  if (isTurn) {
    const told = system === undefined ? [] : [{ role: "system", content: system }]
    return { messages: [...told, { role: "user", content: prompt }], tools, variables }
  }
  const told = system === undefined ? "" : `${system}\n`
  return `${told}${prompt}${question && plainTexts === "auto" ? "\n" : ""}`
}

/** The ids of what is asked, up to where the answer begins. */
export function askedIds(
  asked: Asked,
  { tokenizer, template, now }: Pick<RenderOptions, "tokenizer" | "template" | "now">,
): number[] {
  if (typeof asked !== "string")
    return tokenizer.encode(askedText({ ...asked, now }, neededTemplate(template)))
  const { bosTokenId, addsBos } = tokenizer
  return [...(addsBos && bosTokenId !== null ? [bosTokenId] : []), ...tokenizer.encode(asked)]
}

function completion(example: Completion, options: RenderOptions): ChatTokens {
  const { sampled } = example
  const asked = askedOf(example, layoutParts(options))
  const byText = completionByText(example, asked, options)
  if (sampled === undefined || sampled.tokenIds === null) return byText
  const own = ownTokens(sampled, { example, asked, byText }, options)
  return own ?? { ...byText, notes: [...byText.notes, "sampled-as-text"] }
}

function completionByText(example: Completion, asked: Asked, options: RenderOptions): ChatTokens {
  const { completion: said, sampled, context, tools } = example
  const cutOff = sampled?.cutOff ?? false
  if (typeof asked === "string" && typeof said === "string") {
    const tokens = plainTokens(asked, said, options, { cutOff })
    return tools === undefined ? tokens : { ...tokens, notes: [...tokens.notes, "dropped-tools"] }
  }
  assert(typeof asked !== "string", "a completion of messages after a plain prompt")
  const answer = typeof said === "string" ? [{ role: "assistant", content: said }] : said
  const messages = [...asked.messages, ...answer]
  return chat({ ...asked, messages, context }, asked.messages.length, options, cutOff)
}

interface SampleParts {
  readonly example: Completion
  readonly asked: Asked
  readonly byText: ChatTokens
}

/**
 * A sample by the very tokens that were drawn, behind what was asked. undefined where this
 * tokenizer reads another text in them.
 */
function ownTokens(
  { tokenIds, cutOff }: Sampled,
  { example, asked, byText }: SampleParts,
  options: RenderOptions,
): ChatTokens | undefined {
  const { tokenizer, stopIds, supervise } = options
  const said = completionText(example.completion)
  const ids = tokenIds!
  const ends = stopIds.has(ids.at(-1)!)
  const words = ends ? ids.slice(0, -1) : ids
  if (ids.some((id) => id >= tokenizer.vocabSize)) return undefined
  const prompt = askedIds(asked, options)
  if (said === undefined || !saysAlike(words, said, prompt, tokenizer)) return undefined
  const closing = ends || cutOff ? [] : closingOf(byText)
  const drawn = [...ids, ...closing]
  const all = [...prompt, ...drawn]
  const { content, endOfTurn, template } = TOKEN_CLASS
  const tokenClass = all.map((id, t) => {
    if (t >= prompt.length + words.length) return endOfTurn
    return tokenizer.specialTokenIds.has(id) ? template : content
  })
  return {
    tokenIds: all,
    lossMask: all.map((_, t) => (t < prompt.length && supervise !== "all" ? 0 : 1)),
    tokenClass,
    notes: byText.notes,
    ...(cutOff ? { endsOpen: true } : {}),
  }
}

function completionText(said: Turns): string | undefined {
  if (typeof said === "string") return said
  const [only, ...others] = said
  return others.length === 0 && only?.tool_calls === undefined ? only?.content : undefined
}

/** Tokens before the drawn ones that decide how the first of them reads (a space or none). */
const CONTEXT_TOKENS = 8

function saysAlike(
  ids: readonly number[],
  said: string,
  prompt: readonly number[],
  tokenizer: Tokenizer,
): boolean {
  if (tokenizer.decode(ids, { skipSpecialTokens: true }) === said) return true
  const stream = tokenizer.decodeStream({ skipSpecialTokens: true })
  for (const id of prompt.slice(-CONTEXT_TOKENS)) stream.push(id)
  return ids.map((id) => stream.push(id)).join("") + stream.end() === said
}

/** What closes the answer in the rendering by text. */
function closingOf({ tokenIds, lossMask, tokenClass }: ChatTokens): number[] {
  const last = lossMask.lastIndexOf(1)
  let first = last + 1
  while (first > 0 && lossMask[first - 1] === 1 && tokenClass[first - 1] === TOKEN_CLASS.endOfTurn)
    first--
  return tokenIds.slice(first, last + 1)
}

const neededTemplate = (template: ChatTemplate | null): ChatTemplate => {
  if (template !== null) return template
  throw new InputError(
    "expected a chat template for messages, and the model has none; give one with data.template, or use prompt and completion rows",
  )
}

/** Messages through the template; those before `firstTrained` are context only. */
function chat(
  conversation: Conversation,
  firstTrained: number,
  { tokenizer, template, supervise, now }: RenderOptions,
  cutOff = false,
): ChatTokens {
  const options = { tokenizer, template: neededTemplate(template), supervise, firstTrained, cutOff }
  return chatTokens({ ...conversation, now }, options)
}

/** BOS if the tokenizer adds one, the prompt's ids, the completion's ids (on its own), EOS. */
function plainTokens(
  prompt: string,
  said: string,
  { tokenizer, supervise }: RenderOptions,
  { isText = false, cutOff = false }: { readonly isText?: boolean; readonly cutOff?: boolean },
): ChatTokens {
  const { eosTokenId, specialTokenIds } = tokenizer
  if (eosTokenId === null) {
    throw new InputError(
      "expected the tokenizer to name an eos_token, got none; add it to tokenizer_config.json",
    )
  }
  const before = askedIds(prompt, { tokenizer, template: null })
  const tokenIds = [...before, ...tokenizer.encode(said), ...(cutOff ? [] : [eosTokenId])]
  const from = isText || supervise === "all" ? 0 : before.length
  const { content, endOfTurn, template } = TOKEN_CLASS
  return {
    tokenIds,
    lossMask: tokenIds.map((_, t) => (t < from ? 0 : 1)),
    tokenClass: tokenIds.map((id) =>
      id === eosTokenId ? endOfTurn : specialTokenIds.has(id) ? template : content,
    ),
    notes: [],
    ...(cutOff ? { endsOpen: true } : {}),
  }
}

/**
 * Cuts on the right, frees the first token (nothing predicts it), and notes what a user should
 * know.
 */
function finished(tokens: ChatTokens, { maxLength, tokenizer, stopIds }: RenderOptions): Rendered {
  const { tokenIds, tokenClass, endsOpen = false } = tokens
  const lossMask = tokens.lossMask.map((mask, t) => (t === 0 ? 0 : mask))
  const truncated = tokenIds.length > maxLength
  const { pictures = [] } = tokens
  const lastPicture = pictures.at(-1)
  const picturesEnd = lastPicture ? lastPicture.at + lastPicture.tokens : 0
  if (picturesEnd > maxLength) {
    throw new InputError(
      `its pictures do not fit data.max_length ${maxLength}: they end at token ${picturesEnd}; raise it, or lower data.image_max_pixels`,
    )
  }
  const last = lossMask.lastIndexOf(1)
  const notes: RowNote[] = []
  if (truncated) {
    const cutsEos = last >= maxLength && tokenClass[last] === TOKEN_CLASS.endOfTurn
    notes.push(cutsEos ? "truncated-eos" : "truncated")
  } else if (last >= 0 && !endsOpen && !stopIds.has(tokenIds[last]!)) {
    notes.push("unknown-eos")
  }
  const { bosTokenId } = tokenizer
  if (bosTokenId !== null && tokenIds[0] === bosTokenId && tokenIds[1] === bosTokenId)
    notes.push("double-bos")
  notes.push(...tokens.notes)
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
    ...(pictures.length === 0 ? {} : { pictures }),
  }
}

/** What identifies a row's question when sets are compared. */
export function promptText(example: Example): string {
  return comparable(spoken(example))
}

/** Letter case, white space and how marks are encoded do not make another question. */
export function comparable(text: string): string {
  return text.normalize("NFC").toLowerCase().replaceAll(/\s+/g, " ").trim()
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
