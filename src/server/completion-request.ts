/** What OpenAI's clients send, checked; what would be passed over in silence is refused by name. */
import { z } from "zod"
import type { GoesOn } from "../data/rendered-chat.ts"
import { toolCalls } from "../data/rows/tool-calls.ts"
import type { Prompt, SampleRequest } from "../generate/index.ts"
import type { Tools } from "../text/called-tools.ts"
import { checkedBody } from "./body.ts"
import { refusal } from "./refusal.ts"

/** Samples of one request, all its prompts together. */
const MOST_CHOICES = 64
const MOST_STOPS = 16
const MOST_TOOLS = 128
/** As OpenAI has them: of each token of a completion, and of a chat. */
const MOST_TEXT_ALTERNATIVES = 5
const MOST_ALTERNATIVES = 20

const count = z.int().min(0)
const none = (...values: readonly (null | boolean | number)[]) =>
  z.literal([null, ...values]).optional()

const sampling = {
  model: z.string(),
  n: z.int().min(1).max(MOST_CHOICES).nullish(),
  temperature: z.number().min(0).max(100).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
  seed: z.int().min(0).nullish(),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(MOST_STOPS)]).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({ include_usage: z.boolean().optional() }).nullish(),
  /** Says nothing about the answer. */
  user: z.string().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  store: none(false),
  /** What is not computed here: only the value that means nothing. */
  frequency_penalty: none(0),
  presence_penalty: none(0),
  logit_bias: z.strictObject({}).nullish(),
}

const textRequest = z.strictObject({
  ...sampling,
  prompt: z.union([
    z.string(),
    z.array(count).min(1),
    z.array(z.string()).min(1).max(MOST_CHOICES),
    z.array(z.array(count).min(1)).min(1).max(MOST_CHOICES),
  ]),
  max_tokens: count.nullish(),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(MOST_TEXT_ALTERNATIVES).nullish(),
  /** vLLM's: the ids of what was sampled, beside their text. */
  return_token_ids: z.boolean().nullish(),
  best_of: none(1),
  suffix: none(),
})

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() })
const message = z.looseObject({
  role: z.string(),
  content: z.union([z.string(), z.array(textPart)]).nullish(),
})

const tool = z.looseObject({
  type: z.literal("function"),
  function: z.looseObject({
    name: z.string().min(1),
    parameters: z
      .looseObject({ properties: z.record(z.string(), z.unknown()).optional() })
      .nullish(),
  }),
})
const chosenTool = z.strictObject({
  type: z.literal("function"),
  function: z.strictObject({ name: z.string() }),
})

const chatRequest = z.strictObject({
  ...sampling,
  messages: z.array(message).min(1),
  tools: z.array(tool).max(MOST_TOOLS).nullish(),
  tool_choice: z.union([z.literal(["auto", "none", "required"]), chosenTool]).nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(MOST_ALTERNATIVES).nullish(),
  response_format: z.strictObject({ type: z.literal("text") }).nullish(),
  /** vLLM's: whether the model begins a turn; whether it goes on in the last message instead. */
  add_generation_prompt: z.boolean().nullish(),
  continue_final_message: z.boolean().nullish(),
})

/** Tools that the model may call. */
export interface AskedTools {
  readonly known: Tools
  /** `null`: it decides; `undefined` as the name: it calls some tool. */
  readonly forced: { readonly name: string | undefined } | null
  /** Whether it may call several at once. */
  readonly parallel: boolean
}

/** A request as the engine takes it. */
export interface Asked {
  readonly kind: "chat" | "text"
  readonly model: string
  readonly prompts: readonly Prompt[]
  readonly n: number
  readonly settings: Omit<SampleRequest, "prompt" | "n" | "maxNewTokens">
  /** undefined: as many as the context has room for. */
  readonly maxTokens: number | undefined
  readonly logprobs: boolean
  /** Likeliest tokens to tell beside each. */
  readonly alternatives: number
  readonly tokenIds?: boolean
  readonly tools?: AskedTools
  readonly echo: boolean
  readonly stream: boolean
  readonly streamUsage: boolean
}

type Sampling = z.infer<typeof textRequest> | z.infer<typeof chatRequest>

function common(request: Sampling) {
  if (request.stream_options != null && !request.stream) {
    throw refusal(400, "stream_options: needs stream: true", { param: "stream_options" })
  }
  const { model, n, temperature, top_p, top_k, min_p, repetition_penalty, stop } = request
  return {
    model,
    n: n ?? 1,
    settings: {
      temperature: temperature ?? 1,
      seed: request.seed ?? Math.floor(Math.random() * 2 ** 48),
      ...(stop == null ? {} : { stop: typeof stop === "string" ? [stop] : stop }),
      ...(top_p == null ? {} : { topP: top_p }),
      ...(top_k == null || top_k <= 0 ? {} : { topK: top_k }),
      ...(min_p == null ? {} : { minP: min_p }),
      ...(repetition_penalty == null ? {} : { repetitionPenalty: repetition_penalty }),
    },
    stream: request.stream ?? false,
    streamUsage: request.stream_options?.include_usage ?? false,
  }
}

/** The default of `max_tokens` in OpenAI's /v1/completions. */
const TEXT_TOKENS = 16

export function askedText(body: unknown): Asked {
  const request = checkedBody(textRequest, body)
  const { prompt, max_tokens, logprobs, echo } = request
  const maxTokens = max_tokens ?? TEXT_TOKENS
  if (maxTokens === 0 && !echo) {
    throw refusal(400, "max_tokens: 0 leaves nothing to answer without echo", {
      param: "max_tokens",
    })
  }
  const prompts = promptsOf(prompt)
  const own = common(request)
  if (prompts.length * own.n > MOST_CHOICES) {
    throw refusal(400, `${prompts.length} prompts with n ${own.n}: at most ${MOST_CHOICES} answers`)
  }
  const asked = {
    maxTokens,
    logprobs: logprobs != null,
    alternatives: logprobs ?? 0,
    tokenIds: request.return_token_ids === true,
    echo: echo ?? false,
  }
  return { kind: "text", prompts, ...own, ...asked }
}

function promptsOf(prompt: z.infer<typeof textRequest>["prompt"]): Prompt[] {
  if (typeof prompt === "string") return [prompt]
  if (prompt.every((one) => typeof one === "number")) return [{ tokenIds: prompt }]
  return prompt.map((one) => (typeof one === "string" ? one : { tokenIds: one as number[] }))
}

export function askedChat(body: unknown): Asked {
  const request = checkedBody(chatRequest, body)
  const { messages, tools, tool_choice, max_tokens, max_completion_tokens, logprobs } = request
  if (request.top_logprobs && !logprobs)
    throw refusal(400, "top_logprobs: needs logprobs: true", { param: "top_logprobs" })
  const withTools = tools != null && tools.length > 0 && tool_choice !== "none"
  const conversation = {
    messages: messages.map(saidMessage),
    goesOn: goesOn(request),
    // as they came: a template writes their keys in their order
    ...(withTools ? { tools: (body as { tools: unknown }).tools } : {}),
  }
  return {
    kind: "chat",
    prompts: [conversation],
    ...common(request),
    maxTokens: max_completion_tokens ?? max_tokens ?? undefined,
    logprobs: logprobs ?? false,
    alternatives: request.top_logprobs ?? 0,
    ...(withTools ? { tools: askedTools(request) } : {}),
    echo: false,
  }
}

function goesOn({
  add_generation_prompt: begins,
  continue_final_message: goesOn,
}: z.infer<typeof chatRequest>): GoesOn {
  if (!goesOn) return begins === false ? "chat" : "turn"
  if (!begins) return "message"
  const why = "the model either goes on in the last message or begins a turn of its own"
  throw refusal(400, `continue_final_message: ${why}; add_generation_prompt: true asks for both`, {
    param: "continue_final_message",
  })
}

/** A message as templates read it: its text in one piece, the arguments of its calls as objects. */
function saidMessage(
  { content, ...message }: z.infer<typeof chatRequest>["messages"][number],
  at: number,
) {
  const text =
    typeof content === "string" ? content : (content ?? []).map(({ text }) => text).join("")
  const { tool_calls: _, ...rest } = message
  const calls = toolCalls(message, `messages[${at}]`, "the request")
  return { ...rest, content: text, ...(calls.length > 0 ? { tool_calls: calls } : {}) }
}

function askedTools({
  tools,
  tool_choice: choice,
  parallel_tool_calls: parallel,
}: z.infer<typeof chatRequest>): AskedTools {
  const known = new Map(
    tools!.map(({ function: { name, parameters } }) => [
      name,
      { properties: parameters?.properties ?? {} },
    ]),
  )
  if (typeof choice === "object" && choice && !known.has(choice.function.name)) {
    const names = [...known.keys()].join(", ")
    throw refusal(400, `tool_choice: "${choice.function.name}" is not among the tools: ${names}`, {
      param: "tool_choice",
    })
  }
  const forced =
    choice === "required"
      ? { name: undefined }
      : typeof choice === "object" && choice
        ? { name: choice.function.name }
        : null
  return { known, forced, parallel: parallel ?? true }
}
