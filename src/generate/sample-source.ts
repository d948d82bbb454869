import type { GoesOn } from "../data/rendered-chat.ts"

/** A turn of a conversation. */
export interface PromptMessage {
  readonly role: string
  readonly content: string
  readonly [key: string]: unknown
}

/** What a completion continues. Not every endpoint takes ids. */
export type Prompt = string | readonly PromptMessage[] | PromptConversation | PromptTokens

/** Messages with what the template may want to know beside them. */
export interface PromptConversation {
  readonly messages: readonly PromptMessage[]
  readonly tools?: unknown
  readonly variables?: Readonly<Record<string, unknown>> | undefined
  /** What the model goes on from. */
  readonly goesOn?: GoesOn | undefined
}

export interface PromptTokens {
  readonly tokenIds: readonly number[]
}

/** Ask for `n` completions of one prompt. */
export interface SampleRequest {
  /**
   * A string is used as it is, without a template; messages go through the model's own; ids are
   * ids.
   */
  readonly prompt: Prompt
  readonly n: number
  /** 0 is greedy. */
  readonly temperature: number
  /** Only the k most likely tokens, before `topP`. */
  readonly topK?: number
  readonly topP?: number
  /** Only tokens at least this likely, as a share of the likeliest; after `topP`. */
  readonly minP?: number
  /**
   * Logits of tokens that the prompt or the completion holds are divided by it where they are
   * positive, multiplied where they are negative (arXiv 1909.05858, section 4.1); 1 is none.
   */
  readonly repetitionPenalty?: number
  readonly maxNewTokens: number
  /** Sample `i` is drawn with `seed + i`: the same seed gives the same sample. */
  readonly seed: number
  /**
   * Of a rollout: its number, the attempt, and what sample 0 counts as. Sample `i` is then a
   * function of (seed, first + i, number, attempt), all with the same seed, and log-probabilities
   * are those at `temperature`.
   */
  readonly rollout?: { readonly number: number; readonly attempt: number; readonly first: number }
  /**
   * As many of the likeliest tokens are told with each sampled one; only of models on this machine.
   */
  readonly alternatives?: number
  /** Texts that end a completion; the text itself is not part of it. */
  readonly stop?: readonly string[]
  /** file:line of the prompt, for errors. */
  readonly where?: string
}

/**
 * `stop`, `length` (a prompt too long for the model among them, with an `error`), `error` (the
 * server refused this prompt), or a server's own word: `content_filter`, `tool_calls`, `abort`.
 */
export type FinishReason = "stop" | "length" | "error" | (string & {})

export interface Sample {
  /** Index into the requests given. */
  readonly requestIndex: number
  /** 0 .. n-1 within its request. */
  readonly sampleIndex: number
  /** Text without special tokens, and without the stop string. */
  readonly completion: string
  /**
   * Everything that was sampled, the token that ended it with it; empty where an endpoint gives
   * none.
   */
  readonly tokenIds: readonly number[]
  /**
   * Natural-log probabilities of `tokenIds` at temperature 1 (of a rollout: at its temperature);
   * empty where an endpoint gives none.
   */
  readonly logprobs: readonly number[]
  readonly finishReason: FinishReason
  /** What a reasoning model thought, where the server hands it out apart from the completion. */
  readonly reasoning?: string
  /** Why there is no completion. */
  readonly error?: string
  readonly seed: number
  /** Of several turns: from where to where `tokenIds` are another's words; no logprob is theirs. */
  readonly context?: readonly (readonly [start: number, end: number])[]
  /** Of several turns: the whole chat. */
  readonly messages?: readonly PromptMessage[]
}

/** The rest of a sample that has none of what is asked for. */
export const withoutCompletion = (finishReason: FinishReason, error: string) => ({
  completion: "",
  tokenIds: [],
  logprobs: [],
  finishReason,
  error,
})

/** A token of a sample, as soon as it is known. */
export interface SampledToken {
  readonly requestIndex: number
  readonly sampleIndex: number
  readonly tokenId: number
  readonly logprob: number
  /**
   * The likeliest tokens at temperature 1, the likeliest first, where `alternatives` asks for them.
   */
  readonly top?: readonly { readonly tokenId: number; readonly logprob: number }[]
  /** What can be shown now: a part of a character or of a stop string is held back. */
  readonly text: string
}

export interface SampleOptions {
  readonly signal?: AbortSignal
  readonly onToken?: (token: SampledToken) => void
  /**
   * A prompt that cannot be answered becomes a sample with an `error`, for jobs of many. Without,
   * it is thrown as an InputError.
   */
  readonly keepGoing?: boolean
}

/** Where completions come from: a local model, an endpoint, or memory (tests). */
export interface SampleSource {
  /** Yields samples in whatever order they finish. */
  sample(requests: readonly SampleRequest[], options?: SampleOptions): AsyncIterable<Sample>
}
