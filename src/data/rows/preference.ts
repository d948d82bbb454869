import { InputError } from "../../errors.ts"
import type { JsonObject } from "../../formats/json.ts"
import type { Example, Message, Turns } from "./example.ts"
import { extrasOf, withSystem } from "./extras.ts"
import { type Chat, turns } from "./messages.ts"
import { systemOf } from "./questions.ts"
import { has, isSameJson } from "./values.ts"

/** Where the prompt of a pair may stand, in the order they are looked for. */
const PROMPT_KEYS = ["prompt", "conversations", "messages", "question", "problem", "query"]
/** Those of a question that is put to somebody: with a chat model it is a user's turn. */
const QUESTIONS = ["question", "problem", "query"]

export interface PairReading {
  readonly example: Example
  readonly used: readonly string[]
}

/**
 * Two answers to one prompt, of which the chosen is the better one.
 *
 * @param implicitPrompt texts without a prompt: what both begin with, up to white space, is it
 */
export function preferenceRow(
  row: JsonObject,
  where: string,
  { implicitPrompt }: { readonly implicitPrompt: boolean },
): PairReading {
  const side = (key: string): Turns => turnsOf(turns(row, key, where))
  const [chosen, rejected] = [side("chosen"), side("rejected")]
  if (typeof chosen !== typeof rejected) {
    throw new InputError(
      `${where}: expected "chosen" and "rejected" to be of one kind, got text and messages`,
    )
  }
  const promptKey = PROMPT_KEYS.find((key) => has(row, key))
  const { extras, used: extraKeys } = extrasOf(row, where)
  const keys = ["chosen", "rejected", ...(promptKey === undefined ? [] : [promptKey]), ...extraKeys]
  const pair = (): Pair => {
    if (promptKey !== undefined) return aligned(side(promptKey), chosen, rejected)
    if (typeof chosen !== "string" && typeof rejected !== "string")
      return sharedPrompt(chosen, rejected, where)
    if (implicitPrompt) return sharedWords(chosen as string, rejected as string, where)
    throw new InputError(
      `${where}: expected "prompt" beside "chosen" and "rejected", got nothing (data.implicit_prompt: true takes what both begin with)`,
    )
  }
  const { prompt, ...sides } = pair()
  const told = systemOf(row, where)
  if (typeof prompt !== "string") {
    const { chat, used } = withSystem({ messages: prompt, context: [] }, row, where)
    const example = { kind: "preference", prompt: chat.messages, ...sides, ...extras } as const
    return { example, used: [...keys, ...used] }
  }
  const isQuestion = promptKey !== undefined && QUESTIONS.includes(promptKey)
  const example: Example = {
    kind: "preference",
    prompt,
    ...sides,
    ...extras,
    ...(told === undefined ? {} : { system: told.text }),
    ...(isQuestion ? { question: true } : {}),
  }
  return { example, used: [...keys, ...(told === undefined ? [] : [told.key])] }
}

const turnsOf = (read: string | Chat): Turns => (typeof read === "string" ? read : read.messages)

/** What two texts share, cut behind the last white space in it. */
function sharedWords(chosen: string, rejected: string, where: string): Pair {
  let shared = 0
  while (shared < Math.min(chosen.length, rejected.length) && chosen[shared] === rejected[shared])
    shared++
  const cut = /^[\s\S]*\s/.exec(chosen.slice(0, shared))?.[0].length ?? 0
  if (cut > 0 && cut < chosen.length && cut < rejected.length) {
    return {
      prompt: chosen.slice(0, cut),
      chosen: chosen.slice(cut),
      rejected: rejected.slice(cut),
    }
  }
  throw new InputError(
    `${where}: expected "chosen" and "rejected" to begin with the same words, of which data.implicit_prompt makes the prompt`,
  )
}

type Pair = { readonly prompt: Turns; readonly chosen: Turns; readonly rejected: Turns }

/** Also of what they call, and whatever else they have: an order of keys is no difference. */
const isSame = (a: Message | undefined, b: Message | undefined) =>
  a !== undefined && b !== undefined && isSameJson(a, b)

/**
 * Makes all three strings, or all three messages; drops a prompt repeated at the start of the
 * answers.
 */
function aligned(prompt: Turns, chosen: Turns, rejected: Turns): Pair {
  if (typeof prompt === "string" && typeof chosen === "string") return { prompt, chosen, rejected }
  const asked = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt
  const answer = (turns: Turns): readonly Message[] => {
    if (typeof turns === "string") return [{ role: "assistant", content: turns }]
    const repeats = turns.length > asked.length && asked.every((turn, i) => isSame(turn, turns[i]))
    return repeats ? turns.slice(asked.length) : turns
  }
  return { prompt: asked, chosen: answer(chosen), rejected: answer(rejected) }
}

/** Without a prompt key, the messages that both answers begin with are the prompt. */
function sharedPrompt(
  chosen: readonly Message[],
  rejected: readonly Message[],
  where: string,
): Pair {
  let shared = 0
  while (isSame(chosen[shared], rejected[shared])) shared++
  if (shared === chosen.length || shared === rejected.length) {
    throw new InputError(
      `${where}: expected "chosen" and "rejected" to differ, got one inside the other`,
    )
  }
  return {
    prompt: chosen.slice(0, shared),
    chosen: chosen.slice(shared),
    rejected: rejected.slice(shared),
  }
}
