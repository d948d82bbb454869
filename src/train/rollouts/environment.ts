/** Samples of several turns: after each answer somebody else says something, until nobody does. */
import type { DataPrompt } from "../../data/prompts.ts"
import { askedText, type Conversation } from "../../data/rendered-chat.ts"
import { InputError } from "../../errors.ts"
import { describeValue, isObject } from "../../formats/json.ts"
import type {
  PromptMessage,
  Sample,
  SampleRequest,
  SampleSource,
} from "../../generate/sample-source.ts"
import { ownFunction } from "../../rewards/own-function.ts"
import type { ChatTemplate, Tokenizer } from "../../text/index.ts"
import { type CallReader, callReader, type EnvironmentCall } from "./environment-calls.ts"

export interface EnvironmentParts {
  readonly source: SampleSource
  readonly settings: {
    readonly module: string
    readonly export: string
    readonly timeout: number
    readonly max_turns: number
  }
  readonly prompts: readonly DataPrompt[]
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate | null
  readonly stopIds: ReadonlySet<number>
  /** Of a sample, all turns and what the environment says together. */
  readonly maxNewTokens: number
}

/** A chat that is going on. */
interface Talk {
  readonly first: Sample
  readonly request: SampleRequest
  readonly prompt: DataPrompt
  readonly messages: readonly PromptMessage[]
  /** Of the last answer; null where the template writes none in a form that is understood. */
  readonly calls: readonly EnvironmentCall[] | null
  /** Behind the prompt. */
  readonly tokenIds: readonly number[]
  readonly logprobs: readonly number[]
  readonly context: readonly (readonly [number, number])[]
  readonly last: Sample
}

interface NextTurn {
  readonly talk: Talk
  readonly request: SampleRequest
}

/** Turns have streams of random numbers of their own. */
const STREAMS_A_TURN = 2 ** 20
/** Stands for an answer: what the template writes behind it is what comes between two turns. */
const MARK = "\uE000answer\uE000"

export function environmentSource(parts: EnvironmentParts): SampleSource & {
  /** What can be known wrong before the first answer: a module that does not load. */
  ready(signal?: AbortSignal): Promise<void>
  close(): Promise<void>
} {
  const { source, settings, prompts } = parts
  const environment = ownFunction({ ...settings, isEnvironment: true })
  const heardIn = callReader(parts)
  const byPlace = new Map(prompts.map((prompt) => [prompt.where, prompt]))
  const heard = async (talks: readonly Talk[], turn: number, signal: AbortSignal | undefined) => {
    if (talks.length === 0) return []
    const said = talks.map(({ messages, calls, last, prompt }) => ({
      ...{ prompt: null, messages, completion: last.completion, tool_calls: calls, turn },
      ...{ token_ids: last.tokenIds, finish_reason: last.finishReason },
      ...{ row: prompt.row, where: prompt.where },
    }))
    const answers = await environment.score(said, signal)
    return talks.flatMap((talk, i): NextTurn[] => {
      const said = messagesOf(answers[i], settings.module, talk.prompt.where)
      const next = said.length > 0 ? continued(talk, said, turn, parts) : undefined
      return next ? [next] : []
    })
  }
  return {
    ready: async (signal) => environment.ready?.(signal),
    close: async () => environment.close?.(),
    async *sample(requests, options = {}) {
      let talks: Talk[] = []
      for await (const sample of source.sample(requests, options)) {
        const request = requests[sample.requestIndex]!
        talks.push(begun(sample, request, { prompt: byPlace.get(request.where!)!, heardIn }))
      }
      for (let turn = 1; talks.length > 0; turn++) {
        const isOpen = (talk: Talk) => turn < settings.max_turns && hasEnded(talk, parts)
        const next = await heard(talks.filter(isOpen), turn, options.signal)
        const goingOn = new Set(next.map(({ talk }) => talk.last))
        for (const talk of talks) if (!goingOn.has(talk.last)) yield sampleOf(talk)
        talks = []
        if (next.length === 0) return
        const more = next.map(({ request }) => request)
        for await (const sample of source.sample(more, options)) {
          talks.push(answered(next[sample.requestIndex]!.talk, sample, heardIn))
        }
      }
    },
  }
}

function begun(
  sample: Sample,
  request: SampleRequest,
  { prompt, heardIn }: { readonly prompt: DataPrompt; readonly heardIn: CallReader },
): Talk {
  const { asked } = prompt
  if (typeof asked === "string") {
    throw new InputError(
      `${prompt.where}: rollout.environment talks in messages, and this prompt is a text without a template; give messages, or data.template: true`,
    )
  }
  const messages = asked.messages as readonly PromptMessage[]
  const talk = { first: sample, request, prompt, messages, calls: null, last: sample }
  return answered({ ...talk, tokenIds: [], logprobs: [], context: [] }, sample, heardIn)
}

function answered(talk: Talk, sample: Sample, heardIn: CallReader): Talk {
  const { content, calls } = heardIn(sample, talk.prompt)
  const tool_calls = calls?.map(({ id, name, arguments: given }) => {
    return { id, type: "function", function: { name, arguments: given } }
  })
  const message: PromptMessage = {
    ...{ role: "assistant", content },
    ...(tool_calls?.length ? { tool_calls } : {}),
  }
  return {
    ...talk,
    calls,
    messages: [...talk.messages, message],
    tokenIds: [...talk.tokenIds, ...sample.tokenIds],
    logprobs: [...talk.logprobs, ...sample.logprobs],
    last: sample,
  }
}

/** An answer that was cut gets none. */
const hasEnded = ({ last }: Talk, { stopIds }: EnvironmentParts) =>
  last.finishReason === "stop" && stopIds.has(last.tokenIds.at(-1) ?? -1)

/** @throws InputError for what is no message, no list of them and not null */
function messagesOf(said: unknown, module: string, where: string): PromptMessage[] {
  if (said === null || said === undefined) return []
  const list = Array.isArray(said) ? said : [said]
  return list.map((message: unknown) => {
    if (isObject(message) && isText(message.role) && isText(message.content)) {
      if (message.role !== "assistant") return message as unknown as PromptMessage
      throw new InputError(
        `${module}: for ${where}: a message with the role "assistant" is the model's own to say; expected one of the user or a tool`,
      )
    }
    throw new InputError(
      `${module}: for ${where}: expected a message ({ role, content }), a list of them or null, got ${describeValue(message)}`,
    )
  })
}

const isText = (value: unknown): value is string => typeof value === "string"

/** The next turn; undefined where there is no room for it. */
function continued(
  talk: Talk,
  heard: readonly PromptMessage[],
  turn: number,
  parts: EnvironmentParts,
): NextTurn | undefined {
  const { request, prompt, tokenIds, first } = talk
  const all = [...tokenIds, ...parts.tokenizer.encode(textBetween(talk, heard, parts))]
  const room = parts.maxNewTokens - all.length
  if (room < 1) return undefined
  const { rollout, seed } = request
  const stream = first.sampleIndex + turn * STREAMS_A_TURN
  return {
    talk: {
      ...talk,
      messages: [...talk.messages, ...heard],
      tokenIds: all,
      context: [...talk.context, [tokenIds.length, all.length]],
    },
    request: {
      ...request,
      prompt: { tokenIds: [...prompt.tokenIds, ...all] },
      n: 1,
      maxNewTokens: room,
      seed: rollout ? seed : seed + stream,
      ...(rollout ? { rollout: { ...rollout, first: rollout.first + stream } } : {}),
    },
  }
}

/**
 * What the template writes from the token that ended an answer up to where the next one begins. The
 * sampled ids stay as they are, whatever the template would make of their text.
 *
 * @throws InputError where the template ends an answer in another way
 */
function textBetween(
  { messages, last, prompt }: Talk,
  heard: readonly PromptMessage[],
  { tokenizer, template }: Pick<EnvironmentParts, "tokenizer" | "template">,
): string {
  const marked = [...messages.slice(0, -1), { role: "assistant", content: MARK }, ...heard]
  const conversation = { ...(prompt.asked as Conversation), messages: marked }
  const text = askedText(conversation as Conversation, template!)
  const end = tokenizer.tokenText(last.tokenIds.at(-1)!)
  const at = text.lastIndexOf(MARK)
  const behind = text.slice(at + MARK.length)
  if (at >= 0 && behind.startsWith(end)) return behind.slice(end.length)
  const instead =
    at < 0 ? "it leaves the answer out" : `it writes ${JSON.stringify(behind.slice(0, 40))}`
  throw new InputError(
    `${prompt.where}: rollout.environment: the chat template does not end an answer with ${JSON.stringify(end)}, the token that ended the sample (${instead}), so the turns cannot be put together`,
  )
}

const sampleOf = ({ first, last, messages, tokenIds, logprobs, context }: Talk): Sample => ({
  ...first,
  ...{ messages, tokenIds, logprobs },
  ...(context.length > 0 ? { context } : {}),
  completion: last.completion,
  finishReason: last.finishReason,
})
