import { InputError } from "../errors.ts"
import { describeValue, isObject } from "../formats/json.ts"
import type { Sample } from "./sample-source.ts"

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

function finishReason(value: unknown, where: string): Sample["finishReason"] {
  if (value === "stop" || value === "length") return value
  throw new InputError(
    `${where}: expected "finish_reason" to be stop or length, got ${describeValue(value)}`,
  )
}

type Answer = Pick<Sample, "completion" | "tokenIds" | "logprobs" | "finishReason">

/**
 * The one choice of an answer of /completions or /chat/completions.
 *
 * @throws InputError where the server's answer has another form
 */
export function readChoice(body: unknown, where: string): Answer {
  const choice: unknown =
    isObject(body) && Array.isArray(body.choices) ? body.choices[0] : undefined
  if (!isObject(choice)) {
    throw new InputError(`${where}: expected an answer with "choices", got ${describeValue(body)}`)
  }
  const { message, text } = choice
  const completion = isObject(message) ? (message.content ?? "") : text
  if (typeof completion !== "string") {
    throw new InputError(
      `${where}: expected the choice to hold text, got ${describeValue(completion)}`,
    )
  }
  return {
    completion,
    tokenIds: isNumbers(choice.token_ids) ? choice.token_ids : [], // vLLM, on request
    logprobs: logprobsOf(choice.logprobs),
    finishReason: finishReason(choice.finish_reason, where),
  }
}
