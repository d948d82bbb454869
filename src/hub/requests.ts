import { InputError } from "../errors.ts"
import {
  isBusy,
  isNoAddress,
  isNobody,
  isOfNetwork,
  type Patience,
  patiently,
  retryAfter,
} from "../host/patience.ts"

/** Where the hub is: HF_ENDPOINT, or huggingface.co. */
export const endpoint = () =>
  (process.env.HF_ENDPOINT ?? "https://huggingface.co").replace(/\/+$/, "")

/** The same for people: a password in it is not shown. */
export function shownEndpoint(): string {
  return endpoint().replace(/\/\/[^/@]*@/, "//")
}

export interface Request {
  readonly hubUrl: string
  readonly fetch: typeof fetch
  readonly accessToken?: string
}

interface RequestOptions {
  readonly accessToken: string | undefined
  readonly signal: AbortSignal | undefined
}

/** A listing or an answer of the API; those of the largest repositories have a few megabytes. */
const MAX_ANSWER_BYTES = 64e6
/** Waited for the beginning of an answer. */
const ANSWER_MS = 60_000
export const PATIENCE: Patience = { attempts: 5, firstWaitMs: 500 }

/**
 * How the hub is asked.
 *
 * @throws InputError for an HF_ENDPOINT that is no address, or holds a password
 */
export function requester({ accessToken, signal }: RequestOptions): Request {
  const address = URL.canParse(endpoint()) ? new URL(endpoint()) : undefined
  if (!address || !/^https?:$/.test(address.protocol)) {
    throw new InputError(`HF_ENDPOINT: expected an address, got "${shownEndpoint()}"`)
  }
  if (address.username !== "" || address.password !== "") {
    throw new InputError(
      `HF_ENDPOINT: ${shownEndpoint()} must come without a name and password; set HF_TOKEN instead`,
    )
  }
  return {
    hubUrl: endpoint(),
    fetch: (url, init) => patientFetch(url, init, { accessToken, signal }),
    ...(accessToken ? { accessToken } : {}),
  }
}

/** Whether an error is of the network, and trying again may help: not where nobody is. */
export const isPassing = (error: unknown): boolean =>
  isOfNetwork(error) && !isNobody(error) && !isNoAddress(error)

type Fetched = { readonly response: Response } | { readonly error: unknown }

/**
 * `fetch` that tries again when the hub is busy or the connection is cut, waits for no answer for
 * ever, reads no endless answer, and keeps the token from every host but the hub's own.
 */
async function patientFetch(
  url: Parameters<typeof fetch>[0],
  init: RequestInit | undefined,
  options: RequestOptions,
): Promise<Response> {
  const { signal } = options
  const once = async (): Promise<Fetched> => {
    try {
      return { response: await oneFetch(url, init, options) }
    } catch (error) {
      if (signal?.aborted || !isPassing(error)) throw error
      return { error }
    }
  }
  const fetched = await patiently(once, {
    ...PATIENCE,
    signal,
    again: (outcome) => {
      if ("error" in outcome) return {}
      const { status, headers } = outcome.response
      return isBusy(status) ? { afterSeconds: retryAfter(headers.get("retry-after")) } : undefined
    },
    onWait: async (outcome) => {
      if ("response" in outcome) await outcome.response.body?.cancel()
    },
  })
  if ("error" in fetched) throw fetched.error
  return bounded(fetched.response, init)
}

async function oneFetch(
  url: Parameters<typeof fetch>[0],
  init: RequestInit | undefined,
  { accessToken, signal }: RequestOptions,
): Promise<Response> {
  const headers = new Headers(init?.headers)
  const to = new URL(url instanceof URL ? url.href : typeof url === "string" ? url : url.url)
  if (accessToken && headers.get("authorization") === `Bearer ${accessToken}`) {
    if (to.origin !== new URL(endpoint()).origin) headers.delete("authorization")
  }
  const late = new AbortController()
  const timer = setTimeout(
    () => late.abort(new DOMException(`no answer in ${ANSWER_MS / 1000} s`, "TimeoutError")),
    ANSWER_MS,
  )
  try {
    const ends = [late.signal, signal, init?.signal].filter((one) => one != null)
    return await fetch(to, { ...init, headers, signal: AbortSignal.any(ends) })
  } finally {
    clearTimeout(timer)
  }
}

/** The same answer, of which no more can be read than an answer may have. */
function bounded(response: Response, init: RequestInit | undefined): Response {
  const headers = new Headers(init?.headers)
  const range = headers.get("range")
  if (range !== null && range !== "bytes=0-0") return response // a file, counted as it is written
  const asksForHeaders = range === "bytes=0-0"
  if (asksForHeaders) response.body?.cancel().catch(() => {})
  const body = asksForHeaders || !response.body ? null : response.body.pipeThrough(limit())
  const { status, statusText, url } = response
  const nothing = body === null || [204, 205, 304].includes(status)
  const copy = new Response(nothing ? null : body, {
    status,
    statusText,
    headers: response.headers,
  })
  return Object.defineProperty(copy, "url", { value: url })
}

function limit(): TransformStream<Uint8Array, Uint8Array> {
  let bytes = 0
  return new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.length
      if (bytes <= MAX_ANSWER_BYTES) controller.enqueue(chunk)
      else {
        const most = `${MAX_ANSWER_BYTES / 1e6} MB`
        controller.error(new InputError(`${shownEndpoint()}: an answer of more than ${most}`))
      }
    },
  })
}
