/** How often, and after what wait, a server is asked again: the hub, endpoints, trackers. */
import { setTimeout as sleep } from "node:timers/promises"

export interface Patience {
  /** In all. */
  readonly attempts: number
  /** Before the second attempt; twice as long before each further one. */
  readonly firstWaitMs: number
  /** Also where a server asks for more. */
  readonly longestWaitMs?: number
}

/** What a server that is asked too much, or is not well, answers. */
export const isBusy = (status: number): boolean =>
  status === 408 || status === 425 || status === 429 || status >= 500

/** Addresses that no request is ever sent to. */
const NO_ADDRESS = /bad port|unknown scheme|unsupported protocol|invalid url/i

const causeOf = (error: unknown) =>
  (error as { cause?: { code?: string; message?: string } } | undefined)?.cause

/** Whether a request failed before it was sent, as it always will. */
export function isNoAddress(error: unknown): boolean {
  const cause = causeOf(error)
  return cause?.code === "ERR_INVALID_URL" || NO_ADDRESS.test(cause?.message ?? "")
}

/** Whether there is nothing to connect to. */
export const isNobody = (error: unknown): boolean =>
  ["ECONNREFUSED", "ENOTFOUND"].includes(causeOf(error)?.code ?? "")

/** Whether an error is of the network or of time, and not of what was asked. */
export const isOfNetwork = (error: unknown): boolean =>
  error instanceof TypeError || (error as Error | undefined)?.name === "TimeoutError"

/** Seconds of a Retry-After header, which is a number of them or a date (RFC 9110, 10.2.3). */
export function retryAfter(header: string | null, now = Date.now()): number | undefined {
  if (header === null || header.trim() === "") return undefined
  const seconds = Number(header)
  if (Number.isFinite(seconds)) return seconds >= 0 ? seconds : undefined
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000)
}

const LONGEST_WAIT_MS = 30_000

/**
 * The wait after attempt `attempt` (from 1) failed; ms. `askedSeconds`: what the server asks for.
 */
export function waitAfter(
  attempt: number,
  { firstWaitMs, longestWaitMs = LONGEST_WAIT_MS }: Patience,
  askedSeconds?: number,
): number {
  const wait = askedSeconds === undefined ? firstWaitMs * 2 ** (attempt - 1) : 1000 * askedSeconds
  return Math.min(longestWaitMs, wait)
}

export interface Asking<Outcome> extends Patience {
  /** undefined: the outcome stands; else what the server asks to wait. */
  readonly again: (outcome: Outcome) => { readonly afterSeconds?: number | undefined } | undefined
  /** Before a wait. */
  readonly onWait?: (outcome: Outcome, ms: number) => void | Promise<void>
  readonly signal?: AbortSignal | undefined
}

/**
 * Asks until the outcome stands or the attempts are used up, and gives the last outcome. What
 * `once` throws stands too.
 */
export async function patiently<Outcome>(
  once: () => Promise<Outcome>,
  { again, onWait, signal, ...patience }: Asking<Outcome>,
): Promise<Outcome> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    const outcome = await once()
    const wish = again(outcome)
    if (wish === undefined || attempt >= patience.attempts) return outcome
    const wait = waitAfter(attempt, patience, wish.afterSeconds)
    await onWait?.(outcome, wait)
    try {
      await sleep(wait, undefined, signal ? { signal } : {})
    } catch (error) {
      signal?.throwIfAborted() // with its own reason
      throw error
    }
  }
}
