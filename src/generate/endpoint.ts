import { InputError } from "../errors.ts"
import { patiently } from "../host/patience.ts"
import { readChoice } from "./endpoint-answer.ts"
import { post } from "./endpoint-request.ts"
import {
  type FinishReason,
  type Prompt,
  type PromptConversation,
  type PromptMessage,
  type Sample,
  type SampleOptions,
  type SampleRequest,
  type SampleSource,
  withoutCompletion,
} from "./sample-source.ts"

export interface EndpointOptions {
  /** The server, with or without /v1: http://127.0.0.1:8000. */
  readonly url: string
  /** The model's name there. */
  readonly model: string
  /** Sent as a bearer token when given. */
  readonly apiKey?: string | undefined
  /** Requests under way at once. */
  readonly concurrency?: number
  readonly timeoutSeconds?: number
  /** Tries of one request in all. */
  readonly attempts?: number
  /** Wait before the second try; doubled for each further one. */
  readonly backOffSeconds?: number
  readonly onRetry?: (reason: string) => void
  /**
   * Answers without token ids and log-probabilities are refused: what is trained is what was
   * sampled, never its text tokenised again.
   */
  readonly needsTokens?: boolean
}

/** One sample that is asked for. */
interface Job {
  readonly requestIndex: number
  readonly sampleIndex: number
  readonly request: SampleRequest
}

const LONGEST_WAIT_MS = 60_000

function baseUrl(url: string): string {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch {
    throw new InputError(`--endpoint ${url}: expected a URL like http://127.0.0.1:8000/v1`)
  }
  if (parsed.protocol !== "http:" && parsed.protocol !== "https:") {
    throw new InputError(`--endpoint ${url}: expected http or https, got ${parsed.protocol}`)
  }
  const path = parsed.pathname.replace(/\/+$/, "")
  return `${parsed.origin}${path === "" ? "/v1" : path}`
}

/** What a server may not know, and an answer is worth having without. */
type Droppable = "logprobs" | "seed"
const UNKNOWN =
  /unsupported|unknown|unrecognized|unexpected|not supported|not permitted|not allowed|not available|does not support|no longer|extra|invalid|instead|forbidden/i
/** Without these the samples would be of another distribution than was asked for. */
const NEEDED: Readonly<Record<string, string>> = {
  top_k: "--top-k",
  min_p: "--min-p",
  repetition_penalty: "--repetition-penalty",
}
/** Statuses that are about the address, the key or the model, not about one prompt. */
const ABOUT_THE_JOB: ReadonlySet<number> = new Set([401, 402, 404, 405, 407])
/** So many prompts refused, and none answered: it is not the prompts. */
const MAX_REFUSED_FIRST = 16
const TOO_LONG =
  /context (?:length|window|size)|maximum (?:context|model|input)|too (?:long|many tokens)|exceed\w*.{0,40}(?:context|tokens|length)|max_model_len|reduce the length/i

/**
 * An OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama) as a source of samples. A text goes
 * to /completions, messages to /chat/completions, where the server's template is used. Each sample
 * is one request with its own seed; 429, 5xx, lost connections and timeouts are tried again.
 */
export class EndpointSource implements SampleSource {
  readonly #base: string
  readonly #options: EndpointOptions
  /** What the server has said that it does not take. */
  readonly #without = new Set<Droppable>()
  /** `max_tokens` by its newer name. */
  #completionTokens = false
  #ownLogprobs = false
  #answered = 0
  #refused = 0

  constructor(options: EndpointOptions) {
    this.#base = baseUrl(options.url)
    this.#options = options
  }

  async *sample(
    requests: readonly SampleRequest[],
    { signal, keepGoing = false }: SampleOptions = {},
  ): AsyncGenerator<Sample> {
    const jobs = requests.flatMap((request, requestIndex) =>
      Array.from({ length: request.n }, (_, sampleIndex): Job => {
        return { request, requestIndex, sampleIndex }
      }),
    )
    const stop = new AbortController()
    const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal
    const running = new Map<Job, Promise<{ job: Job; sample: Sample }>>()
    const { concurrency = 16 } = this.#options
    let next = 0
    try {
      while (next < jobs.length || running.size > 0) {
        while (next < jobs.length && running.size < concurrency) {
          const job = jobs[next++]!
          running.set(
            job,
            this.#complete(job, both, keepGoing).then((sample) => ({ job, sample })),
          )
        }
        const { job, sample } = await Promise.race(running.values())
        running.delete(job)
        yield sample
      }
    } finally {
      stop.abort()
      await Promise.allSettled(running.values())
    }
  }

  async #complete(job: Job, signal: AbortSignal, keepGoing: boolean): Promise<Sample> {
    const {
      attempts = 6,
      backOffSeconds = 1,
      timeoutSeconds = 600,
      apiKey,
      onRetry,
    } = this.#options
    const chat = chatOf(job.request.prompt) !== undefined
    const url = `${this.#base}/${chat ? "chat/completions" : "completions"}`
    let bare = false
    for (;;) {
      const { logprobs, ...rest } = this.#body(job)
      const body = bare || logprobs === undefined ? rest : { ...rest, logprobs }
      const outcome = await patiently(() => post(url, body, { apiKey, timeoutSeconds, signal }), {
        ...{ attempts, firstWaitMs: 1000 * backOffSeconds, longestWaitMs: LONGEST_WAIT_MS, signal },
        again: (tried) => (tried.kind === "again" ? { afterSeconds: tried.after } : undefined),
        onWait: (tried, ms) => {
          if (tried.kind !== "again") return
          onRetry?.(`${tried.reason}; trying again in ${(ms / 1000).toFixed(1)} s`)
        },
      })
      if (outcome.kind === "answer") {
        if (bare) this.#without.add("logprobs")
        return this.#sampleOf(job, outcome.body, url, keepGoing)
      }
      if (outcome.kind === "refused") {
        if (this.#adapt(url, body, outcome.reason)) continue
        // a server may refuse log-probabilities without a word of them
        if (
          !bare &&
          !this.#options.needsTokens &&
          body.logprobs !== undefined &&
          this.#answered === 0 &&
          outcome.status !== 404
        ) {
          bare = true
          continue
        }
        return this.#refusal(job, url, outcome, keepGoing)
      }
      throw new InputError(`${url}: ${outcome.reason}, ${attempts} times; is the server running?`)
    }
  }

  #sampleOf(job: Job, body: unknown, url: string, keepGoing: boolean): Sample {
    try {
      const sample = { ...readChoice(body, url), ...identity(job) }
      if (this.#options.needsTokens) checkTokens(sample, url)
      this.#answered++
      return sample
    } catch (error) {
      if (!keepGoing || !(error instanceof InputError)) throw error
      return this.#unanswered(job, "error", error.message)
    }
  }

  /**
   * One prompt that the server will not answer; the job goes on unless nothing was ever answered.
   */
  #refusal(
    job: Job,
    url: string,
    { status, reason }: { status: number; reason: string },
    keepGoing: boolean,
  ): Sample {
    const where = job.request.where === undefined ? "" : `${job.request.where}: `
    const error = `${where}${url}: ${status}: ${reason}`
    if (!keepGoing || ABOUT_THE_JOB.has(status)) throw new InputError(error)
    return this.#unanswered(job, TOO_LONG.test(reason) ? "length" : "error", error)
  }

  #unanswered(job: Job, finishReason: FinishReason, error: string): Sample {
    if (++this.#refused >= MAX_REFUSED_FIRST && this.#answered === 0) {
      throw new InputError(`${error} (${this.#refused} prompts refused, none answered)`)
    }
    return { ...withoutCompletion(finishReason, error), ...identity(job) }
  }

  /**
   * Learns from a refusal what to leave out; whether this request, which had it, is worth another
   * try. Requests under way at once are refused for the same thing, each by itself.
   */
  #adapt(url: string, sent: Readonly<Record<string, unknown>>, reason: string): boolean {
    if (this.#options.needsTokens && /log.?prob/i.test(reason)) {
      // OpenAI's 0 asks for the sampled tokens' own alone
      if (sent.logprobs === 0) return false
      this.#ownLogprobs = true
      return true
    }
    if (/max_completion_tokens/i.test(reason) && sent.max_tokens !== undefined) {
      this.#completionTokens = true
      return true
    }
    for (const name of ["logprobs", "seed"] as const) {
      const named =
        name === "logprobs"
          ? /log.?prob/i.test(reason)
          : /\bseed\b/i.test(reason) && UNKNOWN.test(reason)
      if (sent[name] === undefined || !named) continue
      if (name === "seed" && !this.#without.has(name)) {
        this.#options.onRetry?.("the server takes no seed: its samples cannot be had again")
      }
      this.#without.add(name)
      return true
    }
    for (const [name, option] of Object.entries(NEEDED)) {
      if (sent[name] === undefined || !reason.includes(name)) continue
      throw new InputError(
        `${url}: the server does not take ${name} (${reason}); leave out ${option}`,
      )
    }
    return false
  }

  #body({ request, sampleIndex }: Job): Record<string, unknown> {
    const { prompt, temperature, topP, topK, minP, repetitionPenalty } = request
    const { maxNewTokens, seed, stop } = request
    const chat = chatOf(prompt)
    const asked = typeof prompt === "object" && "tokenIds" in prompt ? prompt.tokenIds : prompt
    return {
      model: this.#options.model,
      ...(chat ?? { prompt: asked }),
      n: 1,
      temperature,
      ...(topP === undefined ? {} : { top_p: topP }),
      ...(topK === undefined ? {} : { top_k: topK }),
      ...(minP === undefined ? {} : { min_p: minP }),
      ...(repetitionPenalty === undefined ? {} : { repetition_penalty: repetitionPenalty }),
      [this.#completionTokens ? "max_completion_tokens" : "max_tokens"]: maxNewTokens,
      ...(this.#without.has("seed") ? {} : { seed: seed + sampleIndex }),
      ...(stop && stop.length > 0 ? { stop } : {}),
      ...(this.#without.has("logprobs")
        ? {}
        : { logprobs: chat ? true : this.#ownLogprobs ? 0 : 1 }),
      ...(this.#options.needsTokens ? { return_token_ids: true } : {}),
    }
  }
}

function checkTokens({ tokenIds, logprobs }: Sample, url: string): void {
  if (tokenIds.length > 0 && logprobs.length === tokenIds.length) return
  const came = `${tokenIds.length} token ids and ${logprobs.length} log-probabilities`
  throw new InputError(
    `${url}: expected each sampled token's id and log-probability, got ${came}. vLLM tells ids on return_token_ids (0.10.2 and later), llama.cpp in logprobs.content, dftune serve as vLLM; a server that tells only text cannot sample for training`,
  )
}

/** The part of a request to /chat/completions that is the conversation; undefined for a text. */
function chatOf(prompt: Prompt): Record<string, unknown> | undefined {
  if (typeof prompt === "string" || "tokenIds" in prompt) return undefined
  const conversation: PromptConversation = "messages" in prompt ? prompt : { messages: prompt }
  const { messages, tools, variables, goesOn = "turn" } = conversation
  return {
    messages: messages.map(withTextArguments),
    ...(goesOn === "turn" ? {} : { add_generation_prompt: false }), // as vLLM has it
    ...(goesOn === "message" ? { continue_final_message: true } : {}),
    ...(tools === undefined ? {} : { tools }),
    ...(variables === undefined ? {} : { chat_template_kwargs: variables }),
  }
}

/** The protocol has a call's arguments as JSON text. */
function withTextArguments(message: PromptMessage & { readonly tool_calls?: unknown }) {
  if (!Array.isArray(message.tool_calls)) return message
  const calls = message.tool_calls.map((call: { function?: { arguments?: unknown } }) => {
    const given = call.function?.arguments
    return given === undefined || typeof given === "string"
      ? call
      : { ...call, function: { ...call.function, arguments: JSON.stringify(given) } }
  })
  return { ...message, tool_calls: calls }
}

const identity = ({ request, requestIndex, sampleIndex }: Job) => ({
  requestIndex,
  sampleIndex,
  seed: request.seed + sampleIndex,
})
