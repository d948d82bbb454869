import { refusal } from "./refusal.ts"

/** Requests that are computed at once, and those that wait for one of them. */
export const MOST_COMPUTED = 8
export const MOST_WAITING = 64

interface Waiting {
  readonly start: () => void
}

/** A place for each request that computes; in the order of their coming. */
export class Lanes {
  #computing = 0
  readonly #waiting: Waiting[] = []

  get computing(): number {
    return this.#computing
  }
  get waiting(): number {
    return this.#waiting.length
  }

  /**
   * Waits for a lane; returns what gives it back, once however often it is called. Throws the 429
   * of a full queue, or the signal's reason when the asker leaves before its turn.
   */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#computing >= MOST_COMPUTED) {
      if (this.#waiting.length >= MOST_WAITING) {
        const full = `${MOST_COMPUTED} requests are computed and ${MOST_WAITING} wait; ask again later`
        throw refusal(429, full, { code: "rate_limit_exceeded", headers: { "Retry-After": "5" } })
      }
      await this.#turn(signal) // whoever gives a lane back hands it on: the count stays
    } else this.#computing++
    let held = true
    return () => {
      if (!held) return
      held = false
      const next = this.#waiting.shift()
      if (next) next.start()
      else this.#computing--
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        reject(signal.reason)
      }
      const waiting: Waiting = {
        start: () => {
          signal.removeEventListener("abort", leave)
          resolve()
        },
      }
      this.#waiting.push(waiting)
      signal.addEventListener("abort", leave, { once: true })
    })
  }
}
