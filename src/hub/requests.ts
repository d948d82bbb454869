import { setTimeout as sleep } from "node:timers/promises"
import { InputError } from "../errors.ts"

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
const ATTEMPTS = 5
const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 30_000
/** Too many at once, or a server that is just not well. */
const AGAIN: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])
/** Nothing is there to connect to: waiting does not help. */
const NOBODY: ReadonlySet<string> = new Set(["ECONNREFUSED", "ENOTFOUND", "ERR_INVALID_URL"])

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

/** Whether an error is of the network, and trying again may help. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof TypeError) && (error as Error)?.name !== "TimeoutError") return false
  const { cause } = error as { cause?: { code?: string } }
  return !NOBODY.has(cause?.code ?? "")
}

/** The wait before attempt `attempt` (from 1): twice as long each time, or what the server asks. */
export function waitBefore(attempt: number, asked?: string | null): number {
  const seconds = Number(asked ?? Number.NaN)
  const wait = seconds >= 0 ? 1000 * seconds : FIRST_WAIT_MS * 2 ** (attempt - 1)
  return Math.min(LONGEST_WAIT_MS, wait)
}

/**
 * `fetch` that tries again when the hub is busy or the connection is cut, waits for no answer for
 * ever, reads no endless answer, and keeps the token from every host but the hub's own.
 */
async function patientFetch(
  url: Parameters<typeof fetch>[0],
  init: RequestInit | undefined,
  options: RequestOptions,
): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    const last = attempt === ATTEMPTS
    try {
      const response = await oneFetch(url, init, options)
      if (last || !AGAIN.has(response.status)) return bounded(response, init)
      await response.body?.cancel()
      await pause(waitBefore(attempt, response.headers.get("retry-after")), options.signal)
    } catch (error) {
      if (last || options.signal?.aborted || !isPassing(error)) throw error
      await pause(waitBefore(attempt), options.signal)
    }
  }
}

const pause = (ms: number, signal: AbortSignal | undefined) =>
  sleep(ms, undefined, signal ? { signal } : {})

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
