/** Computes what was asked, part by part. */
import { promptIds, type SampleRequest } from "../generate/index.ts"
import type { Part, TokenScore } from "./answer-part.ts"
import type { Asked } from "./completion-request.ts"
import type { ModelLease } from "./models.ts"
import { refusal } from "./refusal.ts"
import { type CallAnswers, callAnswers } from "./tool-answers.ts"

export interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_tokens: number
}

/** A request whose prompts are tokens that the model has room for. */
export interface ReadyRequest {
  readonly asked: Asked
  readonly promptIds: readonly (readonly number[])[]
  readonly requests: readonly SampleRequest[]
  /** Where tools may be called. */
  readonly callAnswers?: CallAnswers
}

/**
 * The prompts as ids, held to the model's context: the prompt and what may follow it.
 *
 * @throws the 400 of a request that the model has no room for
 */
export function readyRequest(asked: Asked, { open }: Pick<ModelLease, "open">): ReadyRequest {
  const { vocabSize, maxPositionEmbeddings: context } = open.model.shape
  const calls = callAnswers(asked, open)
  const begun = calls ? open.tokenizer.encode(calls.begun) : []
  const ids = asked.prompts.map((prompt) => [...promptIds(prompt, open), ...begun])
  for (const prompt of ids) {
    const foreign = prompt.find((id) => id >= vocabSize)
    if (foreign !== undefined) {
      const all = `the model has tokens 0 to ${vocabSize - 1}`
      throw refusal(400, `prompt: token ${foreign} is not the model's; ${all}`, { param: "prompt" })
    }
    const wanted = asked.maxTokens ?? 1
    if (prompt.length + wanted > context) {
      const sizes = `the prompt has ${prompt.length} tokens and max_tokens is ${wanted}`
      throw refusal(400, `${sizes}; the model's context is ${context} tokens for both`, {
        code: "context_length_exceeded",
        param: prompt.length < context ? "max_tokens" : "prompt",
      })
    }
  }
  const requests = ids.map((tokenIds, i) => ({
    ...asked.settings,
    alternatives: asked.alternatives,
    prompt: { tokenIds },
    n: asked.n,
    seed: asked.settings.seed + i * asked.n,
    maxNewTokens: asked.maxTokens ?? context - tokenIds.length,
  }))
  return { asked, promptIds: ids, requests, ...(calls ? { callAnswers: calls } : {}) }
}

interface ComputeOptions {
  readonly signal: AbortSignal
  readonly onPart: (part: Part) => void
}

/** Answer `i` of prompt `p` is choice p n + i. */
export async function compute(
  { asked, promptIds, requests, callAnswers }: ReadyRequest,
  lease: ModelLease,
  { signal, onPart: told }: ComputeOptions,
): Promise<Usage> {
  const { n, maxTokens } = asked
  const onPart = (part: Part) => told(callAnswers ? callAnswers.read(part) : part)
  if (asked.echo) await echo({ asked, promptIds, requests }, lease, { signal, onPart })
  let completionTokens = 0
  if (maxTokens === 0) {
    for (let choice = 0; choice < requests.length * n; choice++) {
      onPart({ choice, text: "", tokens: [], finish: "length" })
    }
  } else {
    const samples = lease.source.sample(requests, {
      signal,
      onToken: ({ requestIndex, sampleIndex, text, ...token }) => {
        completionTokens++
        onPart({ choice: requestIndex * n + sampleIndex, text, tokens: [token] })
      },
    })
    for await (const { requestIndex, sampleIndex, finishReason: finish } of samples) {
      onPart({ choice: requestIndex * n + sampleIndex, text: "", tokens: [], finish })
    }
  }
  const promptTokens = promptIds.reduce((sum, { length }) => sum + length, 0)
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  }
}

/** The prompt before its answers, with the score of each of its tokens if scores are asked for. */
async function echo(
  { asked, promptIds }: ReadyRequest,
  { open, promptScores }: ModelLease,
  { signal, onPart }: ComputeOptions,
): Promise<void> {
  for (const [p, ids] of promptIds.entries()) {
    signal.throwIfAborted()
    const prompt = asked.prompts[p]!
    const text = typeof prompt === "string" ? prompt : open.tokenizer.decode(ids)
    const scores = asked.logprobs ? await promptScores(ids, asked.alternatives) : undefined
    const tokens: TokenScore[] = scores
      ? ids.map((tokenId, i) => ({ tokenId, ...(scores[i - 1] ?? { logprob: null }) }))
      : []
    for (let i = 0; i < asked.n; i++) onPart({ choice: p * asked.n + i, text, tokens })
  }
}
