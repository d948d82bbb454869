import { InputError } from "../errors.ts"
import { describeValue, isObject } from "../formats/json.ts"
import { readChoice } from "./endpoint-answer.ts"
import type {
  Prompt,
  PromptMessage,
  Sample,
  SampleOptions,
  SampleRequest,
  SampleSource,
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
}

/** One sample that is asked for. */
interface Job {
  readonly requestIndex: number
  readonly sampleIndex: number
  readonly request: SampleRequest
}

const MAX_WAIT_SECONDS = 60

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

const pause = (seconds: number, signal: AbortSignal | undefined) =>
  new Promise<void>((done, fail) => {
    const stop = () => {
      clearTimeout(timer)
      fail(signal!.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop)
      done()
    }, seconds * 1000)
    signal?.addEventListener("abort", stop, { once: true })
  })

/** Whether trying again can help, and what to tell. */
type Outcome =
  | { readonly kind: "answer"; readonly body: unknown }
  | { readonly kind: "again"; readonly reason: string; readonly after?: number }
  | { readonly kind: "refused"; readonly status: number; readonly reason: string }

function serverWords(text: string): string {
  try {
    const body: unknown = JSON.parse(text)
    const error = isObject(body) ? (body.error ?? body.message ?? body.detail) : undefined
    if (isObject(error) && typeof error.message === "string") return error.message
    if (typeof error === "string") return error
  } catch {
    // not JSON: shown as it is
  }
  return text.trim().slice(0, 300)
}

/**
 * An OpenAI-compatible server (vLLM, SGLang, llama.cpp, Ollama) as a source of samples. A text goes
 * to /completions, messages to /chat/completions, where the server's template is used. Each sample
 * is one request with its own seed; 429, 5xx, lost connections and timeouts are tried again.
 */
export class EndpointSource implements SampleSource {
  readonly #base: string
  readonly #options: EndpointOptions
  /** Until the server says that it has none. */
  #logprobs = true

  constructor(options: EndpointOptions) {
    this.#base = baseUrl(options.url)
    this.#options = options
  }

  async *sample(
    requests: readonly SampleRequest[],
    { signal }: SampleOptions = {},
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
            this.#complete(job, both).then((sample) => ({ job, sample })),
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

  async #complete(job: Job, signal: AbortSignal): Promise<Sample> {
    const { attempts = 6, backOffSeconds = 1, onRetry } = this.#options
    const chat = chatOf(job.request.prompt) !== undefined
    const url = `${this.#base}/${chat ? "chat/completions" : "completions"}`
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#post(url, this.#body(job), signal)
      if (outcome.kind === "answer") return { ...readChoice(outcome.body, url), ...identity(job) }
      if (outcome.kind === "refused") {
        if (this.#logprobs && /logprob/i.test(outcome.reason) && outcome.status === 400) {
          this.#logprobs = false
          continue
        }
        throw new InputError(`${url}: ${outcome.status}: ${outcome.reason}`)
      }
      if (attempt >= attempts) {
        throw new InputError(`${url}: ${outcome.reason}, ${attempts} times; is the server running?`)
      }
      const wait = Math.min(outcome.after ?? backOffSeconds * 2 ** (attempt - 1), MAX_WAIT_SECONDS)
      onRetry?.(`${outcome.reason}; trying again in ${wait.toFixed(1)} s`)
      await pause(wait, signal)
    }
  }

  #body({ request, sampleIndex }: Job): Record<string, unknown> {
    const { prompt, temperature, topP, topK, maxNewTokens, seed, stop } = request
    const chat = chatOf(prompt)
    const asked = typeof prompt === "object" && "tokenIds" in prompt ? prompt.tokenIds : prompt
    return {
      model: this.#options.model,
      ...(chat ?? { prompt: asked }),
      n: 1,
      temperature,
      ...(topP === undefined ? {} : { top_p: topP }),
      ...(topK === undefined ? {} : { top_k: topK }),
      max_tokens: maxNewTokens,
      seed: seed + sampleIndex,
      ...(stop && stop.length > 0 ? { stop } : {}),
      ...(this.#logprobs ? { logprobs: chat ? true : 1 } : {}),
    }
  }

  async #post(url: string, body: unknown, signal: AbortSignal): Promise<Outcome> {
    const { apiKey, timeoutSeconds = 600 } = this.#options
    const timeout = AbortSignal.timeout(timeoutSeconds * 1000)
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(apiKey ? { authorization: `Bearer ${apiKey}` } : {}),
        },
        body: JSON.stringify(body),
        signal: AbortSignal.any([signal, timeout]),
      })
      const text = await response.text()
      const reason = serverWords(text) || response.statusText
      if (response.status === 429 || response.status >= 500) {
        const after = Number(response.headers.get("retry-after") ?? Number.NaN)
        const again = { kind: "again", reason: `${response.status} ${reason}` } as const
        return Number.isFinite(after) && after >= 0 ? { ...again, after } : again
      }
      if (!response.ok) return { kind: "refused", status: response.status, reason }
      try {
        return { kind: "answer", body: JSON.parse(text) }
      } catch {
        throw new InputError(`${url}: expected JSON, got ${describeValue(text)}`)
      }
    } catch (error) {
      if (error instanceof InputError) throw error
      signal.throwIfAborted()
      if (timeout.aborted) return { kind: "again", reason: `no answer in ${timeoutSeconds} s` }
      const { message, cause } = error as Error
      return { kind: "again", reason: cause instanceof Error ? cause.message : message }
    }
  }
}

/** Messages are a chat; text, and ids where a server takes them, are continued. */
/** The part of a request to /chat/completions that is the conversation; undefined for a text. */
function chatOf(prompt: Prompt): Record<string, unknown> | undefined {
  if (typeof prompt === "string" || "tokenIds" in prompt) return undefined
  const { messages, tools, variables } = "messages" in prompt ? prompt : { messages: prompt }
  return {
    messages: messages.map(withTextArguments),
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
