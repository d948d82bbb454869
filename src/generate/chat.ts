/** `dftune chat`: a conversation with a model, as its rows were laid out. */
import { mainKind, typedPrompt } from "../data/layout.ts"
import { InputError } from "../errors.ts"
import { type Asking, askingOf, askingWarning, templateFile } from "./asking.ts"
import type { AskedModelOptions } from "./generation.ts"
import { modelNamed } from "./model-named.ts"
import { type Generator, openGenerator } from "./open-model.ts"
import { promptOf } from "./prompt-rows.ts"
import type { PromptMessage } from "./sample-source.ts"
import { checkBounds } from "./sampling-bounds.ts"

export interface ChatOptions
  extends Omit<AskedModelOptions, "endpoint" | "apiKey" | "concurrency"> {
  /** What the model is told before the conversation. */
  readonly system?: string | undefined
  /** No template: the model continues the text as it stands. */
  readonly raw?: boolean | undefined
  /** Through the chat template, however the model was trained. */
  readonly chat?: boolean | undefined
  /** 0 is greedy; 0.7 if left out. */
  readonly temperature?: number | undefined
  readonly topP?: number | undefined
  readonly topK?: number | undefined
  /** Of an answer; 1024 if left out. */
  readonly maxNewTokens?: number | undefined
  /** Answer i is drawn with `seed + i`. */
  readonly seed?: number | undefined
}

/**
 * How a line becomes a prompt: a turn of the conversation, the text so far, or a question by
 * itself.
 */
export type ChatWay = "turns" | "text" | "questions"

export interface ChatAnswer {
  readonly prompt: string
  readonly completion: string
  /** `stopped`: its signal was aborted, and what had been said stays in the conversation. */
  readonly finish_reason: string
}

export interface Chat {
  /** Where the weights lie. */
  readonly folder: string
  readonly way: ChatWay
  /** Says something, and gives the answer; `onText` gets it piece by piece. */
  readonly ask: (
    text: string,
    options?: { readonly signal?: AbortSignal; readonly onText?: (piece: string) => void },
  ) => Promise<ChatAnswer>
  /** Forgets the conversation. */
  readonly reset: () => void
  /** Lets go of the model. */
  readonly close: () => Promise<void>
}

interface Conversation {
  readonly messages: readonly PromptMessage[]
  /** Without a template: the text so far. */
  readonly text: string
  readonly turns: number
}

/**
 * Opens a model to talk to.
 *
 * @throws InputError for a model that is missing, or has no chat template where one is needed
 */
export async function chat(word: string, options: ChatOptions = {}): Promise<Chat> {
  checkBounds(options)
  const { signal, onProgress, onNotice, onWarning, base, device, dtype, threads } = options
  const told = { ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  const model = await modelNamed(word, onNotice)
  const template = options.template ?? (options.chat ? "true" : undefined)
  const asking = await askingOf(model, { ...told, template, base, onNotice })
  const way = wayOf(options, asking)
  const generator = await openGenerator(model, {
    continues: true,
    ...templateFile(options.template),
    ...told,
    base,
    ...(device === undefined ? {} : { device }),
    ...(dtype === undefined ? {} : { dtype }),
    ...(threads === undefined ? {} : { threads }),
  })
  const { folder } = generator.open
  if (way === "turns" && generator.open.template === null) {
    await generator.close()
    throw new InputError(`${folder}: this model has no chat template; --raw continues plain text`)
  }
  const asked = way === "turns" ? { prompt: [{ role: "user", content: "..." }] } : { prompt: "..." }
  const warning = way === "questions" ? undefined : askingWarning(asked, asking)
  if (warning) onWarning?.({ code: "layout", ...warning })
  let conversation = opening(options)
  return {
    folder,
    way,
    ask: async (text, how = {}) => {
      const { answer, next } = await answered({ generator, asking, way }, conversation, text, {
        ...options,
        signal: undefined, // of the opening
        ...how,
      })
      conversation = next
      return answer
    },
    reset: () => {
      conversation = opening(options)
    },
    close: () => generator.close(),
  }
}

const opening = ({ system }: ChatOptions): Conversation => ({
  messages: system === undefined ? [] : [{ role: "system", content: system }],
  text: "",
  turns: 0,
})

/** As the model's rows were laid out, unless the user says otherwise. */
function wayOf({ raw, chat: turns, template }: ChatOptions, asking: Asking): ChatWay {
  if (raw) return "text"
  const main = mainKind(asking.trained)
  const single = main === "plain" || main === "question"
  return single && !turns && template === undefined ? "questions" : "turns"
}

interface Talking {
  readonly generator: Generator
  readonly asking: Asking
  readonly way: ChatWay
}

type AnswerOptions = Omit<ChatOptions, "signal"> & {
  readonly signal?: AbortSignal | undefined
  readonly onText?: (piece: string) => void
}

/** An answer that was stopped stays in the conversation as it is. */
async function answered(
  { generator, asking, way }: Talking,
  conversation: Conversation,
  said: string,
  options: AnswerOptions,
): Promise<{ readonly answer: ChatAnswer; readonly next: Conversation }> {
  const { temperature = 0.7, topK, topP, maxNewTokens = 1024, seed = 0, system, signal } = options
  const alone = {
    ...typedPrompt(said, asking.trained),
    ...(system === undefined ? {} : { system }),
  }
  const messages = [...conversation.messages, { role: "user", content: said }]
  const text = conversation.text + said
  const request = {
    prompt: { text, turns: messages, questions: promptOf(alone, asking) }[way],
    n: 1,
    temperature,
    maxNewTokens,
    seed: seed + conversation.turns,
    ...(topK === undefined ? {} : { topK }),
    ...(topP === undefined ? {} : { topP }),
  }
  let completion = ""
  let finish_reason = "stopped"
  const onToken = ({ text: piece }: { readonly text: string }) => {
    completion += piece
    options.onText?.(piece)
  }
  try {
    for await (const sample of generator.sample([request], {
      ...(signal ? { signal } : {}),
      onToken,
    })) {
      finish_reason = sample.finishReason
    }
  } catch (error) {
    if (!signal?.aborted) throw error
  }
  return {
    answer: { prompt: said, completion, finish_reason },
    next: {
      messages: [...messages, { role: "assistant", content: completion }],
      text: text + completion,
      turns: conversation.turns + 1,
    },
  }
}
