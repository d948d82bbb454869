/** Answers in OpenAI's forms: whole, and piece by piece. */
import { randomUUID } from "node:crypto"
import type { CalledTool } from "../text/called-tools.ts"
import type { Tokenizer } from "../text/index.ts"
import type { Part, TokenScore } from "./answer-part.ts"
import type { Usage } from "./completion.ts"
import type { Asked } from "./completion-request.ts"

export interface AnswerForm {
  /** The whole answer. */
  whole(parts: readonly Part[], choices: number, usage: Usage): object
  /** One part as a chunk; undefined for a part that shows nothing. */
  chunk(part: Part): object | undefined
  /** The chunk after the last, where usage is asked for. */
  usageChunk(usage: Usage): object
}

/** Where each answer's text has come to, for the offsets of tokens. */
type Lengths = Map<number, number>

export function answerForm(
  { kind, model, logprobs, tokenIds }: Asked,
  tokenizer: Pick<Tokenizer, "tokenText">,
): AnswerForm {
  const chat = kind === "chat"
  const head = {
    id: `${chat ? "chatcmpl" : "cmpl"}-${randomUUID()}`,
    created: Math.floor(Date.now() / 1000),
    model,
  }
  const chunkHead = { ...head, object: chat ? "chat.completion.chunk" : "text_completion" }
  const lengths: Lengths = new Map()
  const begun = new Set<number>()
  const scores = (tokens: readonly TokenScore[], offset: number) => {
    if (!logprobs) return null
    return chat ? chatScores(tokens, tokenizer) : textScores(tokens, tokenizer, offset)
  }
  return {
    whole(parts, choices, usage) {
      const all = Array.from({ length: choices }, (_, index) => {
        const own = parts.filter(({ choice }) => choice === index)
        const text = own.map((part) => part.text).join("")
        const tokens = own.flatMap(({ tokens }) => tokens)
        const told = scores(tokens, 0)
        const finish_reason = own.at(-1)!.finish
        const calls = own.flatMap(({ calls = [] }) => calls)
        return chat
          ? {
              index,
              message: { role: "assistant", ...saidAnswer(text, calls), refusal: null },
              logprobs: told,
              finish_reason,
            }
          : {
              index,
              text,
              logprobs: told,
              ...(tokenIds ? { token_ids: tokens.map(({ tokenId }) => tokenId) } : {}),
              finish_reason,
            }
      })
      return {
        ...head,
        object: chat ? "chat.completion" : "text_completion",
        choices: all,
        usage,
      }
    },
    chunk({ choice: index, text, tokens, finish, calls }) {
      const offset = lengths.get(index) ?? 0
      lengths.set(index, offset + text.length)
      if (text === "" && finish === undefined && !(logprobs && tokens.length > 0)) return undefined
      const rest = {
        index,
        ...(tokenIds ? { token_ids: tokens.map(({ tokenId }) => tokenId) } : {}),
        logprobs: tokens.length > 0 ? scores(tokens, offset) : null,
        finish_reason: finish ?? null,
      }
      if (!chat) return { ...chunkHead, choices: [{ ...rest, text }] }
      const first = begun.has(index) ? {} : { role: "assistant" }
      begun.add(index)
      const delta = {
        ...first,
        ...(text !== "" || finish === undefined ? { content: text } : {}),
        ...(calls ? { tool_calls: calls.map((call, i) => ({ index: i, ...toldCall(call) })) } : {}),
      }
      return { ...chunkHead, choices: [{ ...rest, delta }] }
    },
    usageChunk: (usage) => ({ ...chunkHead, choices: [], usage }),
  }
}

const toldCall = (call: CalledTool) => ({
  id: `call_${randomUUID().replaceAll("-", "").slice(0, 24)}`,
  type: "function",
  function: call,
})

/** With calls: what is said beside them, or null. */
function saidAnswer(text: string, calls: readonly CalledTool[]) {
  if (calls.length === 0) return { content: text }
  return { content: text.trim() === "" ? null : text.trim(), tool_calls: calls.map(toldCall) }
}

function chatScores(tokens: readonly TokenScore[], tokenizer: Pick<Tokenizer, "tokenText">) {
  const score = ({ tokenId, logprob }: Pick<TokenScore, "tokenId" | "logprob">) => ({
    token: tokenizer.tokenText(tokenId),
    logprob,
    bytes: null,
  })
  const content = tokens.map(({ top = [], ...token }) => ({
    ...score(token),
    top_logprobs: top.map(score),
  }))
  return { content, refusal: null }
}

/**
 * By text, as this form has them: of two tokens with one text the likelier. The token itself is
 * among them.
 */
function alternatives(
  { tokenId, logprob, top }: TokenScore,
  tokenizer: Pick<Tokenizer, "tokenText">,
): Record<string, number> | null {
  if (logprob === null || top === undefined) return null
  const told = new Map<string, number>()
  for (const one of [...top, { tokenId, logprob }]) {
    const text = tokenizer.tokenText(one.tokenId)
    if (!told.has(text)) told.set(text, one.logprob)
  }
  return Object.fromEntries(told)
}

/** Offsets are of the tokens' own texts, put one after the other. */
function textScores(
  tokens: readonly TokenScore[],
  tokenizer: Pick<Tokenizer, "tokenText">,
  from: number,
) {
  const texts = tokens.map(({ tokenId }) => tokenizer.tokenText(tokenId))
  let offset = from
  return {
    tokens: texts,
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.some(({ top = [] }) => top.length > 0)
      ? tokens.map((token) => alternatives(token, tokenizer))
      : null,
    text_offset: texts.map((text) => {
      const at = offset
      offset += text.length
      return at
    }),
  }
}
