import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"
import type { FinishReason, Sample } from "./sample-source.ts"

const isNumbers = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((item) => typeof item === "number")

/** Log-probabilities of the tokens, in either of the two forms; empty where there are none. */
function logprobsOf(value: unknown): number[] {
  if (!isObject(value)) return []
  if (isNumbers(value.token_logprobs)) return value.token_logprobs // completions
  if (!Array.isArray(value.content)) return []
  const numbers = value.content.map((item) => (isObject(item) ? item.logprob : undefined))
  return isNumbers(numbers) ? numbers : [] // chat completions
}

/** vLLM's on request, or llama.cpp's beside the log-probabilities; empty where there are none. */
function idsOf({ token_ids, logprobs }: JsonObject): number[] {
  if (isNumbers(token_ids)) return token_ids
  if (!isObject(logprobs) || !Array.isArray(logprobs.content)) return []
  const ids = logprobs.content.map((item) => (isObject(item) ? item.id : undefined))
  return isNumbers(ids) ? ids : []
}

/** What servers call a stop (TGI, Anthropic's gateways) and a full completion. */
const SAME_REASON: Readonly<Record<string, FinishReason>> = {
  eos: "stop",
  eos_token: "stop",
  stop_sequence: "stop",
  stop_token: "stop",
  end_turn: "stop",
  max_tokens: "length",
  max_length: "length",
}

/**
 * A server's reason in our words where we have one, else as it says; `unknown` where it says none.
 */
function finishReason(value: unknown): FinishReason {
  if (typeof value !== "string" || value === "") return "unknown"
  return Object.hasOwn(SAME_REASON, value) ? SAME_REASON[value]! : value.slice(0, 60)
}

/** Text, or the texts of a list of parts. */
function textOf(content: unknown): string | undefined {
  if (content === null || content === undefined) return ""
  if (typeof content === "string") return content
  if (!Array.isArray(content)) return undefined
  const parts = content.map((part) => {
    if (typeof part === "string") return part
    return isObject(part) && typeof part.text === "string" ? part.text : ""
  })
  return parts.join("")
}

function reasoningOf(message: JsonObject): string | undefined {
  const said = message.reasoning_content ?? message.reasoning ?? message.thinking
  return typeof said === "string" && said !== "" ? said : undefined
}

/** The first by its index: servers may list them as they finish. */
function firstChoice(body: unknown): JsonObject | undefined {
  if (!isObject(body) || !Array.isArray(body.choices)) return undefined
  const choices = body.choices.filter(isObject)
  const index = ({ index: at }: JsonObject): number => (typeof at === "number" ? at : 0)
  return choices.sort((a, b) => index(a) - index(b))[0]
}

type Answer = Omit<Sample, "requestIndex" | "sampleIndex" | "seed">

/**
 * The one choice of an answer of /completions or /chat/completions, with a reasoning model's
 * thoughts and a refusal where the message holds them.
 *
 * @throws InputError where the server's answer has another form
 */
export function readChoice(body: unknown, where: string): Answer {
  const choice = firstChoice(body)
  if (choice === undefined) {
    const words = isObject(body) && body.error !== undefined ? JSON.stringify(body.error) : ""
    const said = words === "" ? describeValue(body) : `an error: ${words.slice(0, 300)}`
    throw new InputError(`${where}: expected an answer with "choices", got ${said}`)
  }
  const { message, text } = choice
  const completion = isObject(message) ? textOf(message.content) : text
  if (typeof completion !== "string") {
    const got = isObject(message) ? message.content : text
    throw new InputError(`${where}: expected the choice to hold text, got ${describeValue(got)}`)
  }
  const reasoning = isObject(message) ? reasoningOf(message) : undefined
  const refusal = isObject(message) ? message.refusal : undefined
  return {
    completion,
    tokenIds: idsOf(choice),
    logprobs: logprobsOf(choice.logprobs),
    finishReason: finishReason(choice.finish_reason),
    ...(reasoning === undefined ? {} : { reasoning }),
    ...(typeof refusal === "string" && refusal !== ""
      ? { error: `the model refused: ${refusal.slice(0, 300)}` }
      : {}),
  }
}
