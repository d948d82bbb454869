/** A turn of a conversation. */
export interface PromptMessage {
  readonly role: string
  readonly content: string
}

/** Ask for `n` completions of one prompt. */
export interface SampleRequest {
  /** A string is used as it is, without a template; messages go through the model's own. */
  readonly prompt: string | readonly PromptMessage[]
  readonly n: number
  /** 0 is greedy. */
  readonly temperature: number
  readonly topP?: number
  readonly maxNewTokens: number
  /** Sample `i` is drawn with `seed + i`: the same seed gives the same sample. */
  readonly seed: number
  /** Texts that end a completion; the text itself is not part of it. */
  readonly stop?: readonly string[]
}

export interface Sample {
  /** Index into the requests given. */
  readonly requestIndex: number
  /** 0 .. n-1 within its request. */
  readonly sampleIndex: number
  readonly completion: string
  readonly tokenIds: readonly number[]
  /** Natural-log probabilities of `tokenIds` at temperature 1; empty where an endpoint gives none. */
  readonly logprobs: readonly number[]
  readonly finishReason: "stop" | "length"
  readonly seed: number
}

/** Where completions come from: a local model, an endpoint, or memory (tests). */
export interface SampleSource {
  /** Yields samples in whatever order they finish. */
  sample(
    requests: readonly SampleRequest[],
    options?: { readonly signal?: AbortSignal },
  ): AsyncIterable<Sample>
}
