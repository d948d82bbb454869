import { InputError } from "../errors.ts"
import { describeValue, isObject } from "../formats/json.ts"
import { boundedText, MAX_BODY_BYTES } from "../host/bounded-text.ts"
import { isBusy, isNoAddress, retryAfter } from "../host/patience.ts"

/** One request to a server: what came back, and whether asking again can help. */

export type Outcome =
  | { readonly kind: "answer"; readonly body: unknown }
  | { readonly kind: "again"; readonly reason: string; readonly after?: number }
  | { readonly kind: "refused"; readonly status: number; readonly reason: string }

export interface PostOptions {
  /** Sent as a bearer token when given; never shown. */
  readonly apiKey: string | undefined
  readonly timeoutSeconds: number
  readonly signal: AbortSignal
}

function serverWords(text: string): string {
  try {
    const body: unknown = JSON.parse(text)
    const error = isObject(body) ? (body.error ?? body.message ?? body.detail) : undefined
    if (isObject(error) && typeof error.message === "string") return error.message
    if (typeof error === "string") return error
    if (Array.isArray(error)) return JSON.stringify(error).slice(0, 300) // FastAPI's 422
  } catch {
    // not JSON: shown as it is
  }
  return text.trim().slice(0, 300)
}

/**
 * Posts JSON. Lost connections, timeouts, 429, 5xx and answers that are no JSON can be tried again.
 */
export async function post(
  url: string,
  body: unknown,
  { apiKey, timeoutSeconds, signal }: PostOptions,
): Promise<Outcome> {
  const timeout = AbortSignal.timeout(timeoutSeconds * 1000)
  const shown = (words: string): string => (apiKey ? words.replaceAll(apiKey, "***") : words)
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
    const text = await boundedText(response)
    if (text === undefined) {
      const reason = `the answer is longer than ${MAX_BODY_BYTES / 1e6} MB`
      return { kind: "refused", status: response.status, reason }
    }
    const reason = shown(serverWords(text) || response.statusText)
    if (isBusy(response.status)) {
      const after = retryAfter(response.headers.get("retry-after"))
      const again = { kind: "again", reason: `${response.status} ${reason}` } as const
      return after === undefined ? again : { ...again, after }
    }
    if (!response.ok) return { kind: "refused", status: response.status, reason }
    try {
      return { kind: "answer", body: JSON.parse(text) }
    } catch {
      return { kind: "again", reason: `expected JSON, got ${shown(describeValue(text))}` }
    }
  } catch (error) {
    if (error instanceof InputError) throw error
    signal.throwIfAborted()
    if (timeout.aborted) return { kind: "again", reason: `no answer in ${timeoutSeconds} s` }
    const { message, cause } = error as Error
    const reason = cause instanceof Error ? cause.message : message
    if (isNoAddress(error)) throw new InputError(`${url}: no request can be sent there: ${reason}`)
    return { kind: "again", reason }
  }
}
