import { setTimeout as sleep } from "node:timers/promises"

/** Things that wait to be sent; a service that is slower than the run is let go of. */
const MOST_WAITING = 100_000

/** Sends in its own time, in order: what comes while something is under way goes with the next. */
export class Outbox<T> {
  readonly #send: (items: readonly T[]) => Promise<void>
  #waiting: T[] = []
  #sending: Promise<void> | undefined
  #failure: unknown

  constructor(send: (items: readonly T[]) => Promise<void>) {
    this.#send = send
  }

  /** @throws what an earlier sending failed with */
  push(...items: readonly T[]): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#waiting.length + items.length > MOST_WAITING) {
      throw new Error(`${MOST_WAITING} numbers wait to be sent; the service is slower than the run`)
    }
    if (items.length === 0) return
    this.#waiting.push(...items)
    this.#sending ??= this.#sendAll()
  }

  /** Waits until all is sent. @throws what a sending failed with, or that time is up */
  async drained(ms: number): Promise<void> {
    const late = new AbortController()
    const tooLate = sleep(ms, "late", { signal: late.signal }).catch(() => undefined)
    const ended = await Promise.race([this.#sending, tooLate])
    late.abort()
    if (this.#failure !== undefined) throw this.#failure
    if (ended === "late") throw new Error(`not all was sent after ${ms / 1000} s`)
  }

  async #sendAll(): Promise<void> {
    await undefined // whoever began it holds the promise before it can end
    try {
      while (this.#waiting.length > 0) await this.#send(this.#waiting.splice(0))
    } catch (error) {
      this.#failure = error
      this.#waiting = []
    } finally {
      this.#sending = undefined
    }
  }
}
