/** Server-sent events as one body, and how many are open at once. */
import type { Context } from "hono"
import { refusal } from "./refusal.ts"

/** Streams of events that are open at once. */
const MOST_STREAMS = 64

export interface Told {
  readonly id?: string
  readonly data: unknown
}

export class EventStreams {
  #open = 0

  get open(): number {
    return this.#open
  }

  /**
   * Sends what `follow` yields until the asker leaves; undefined now and then is a sign of life.
   */
  answer(c: Context, follow: (signal: AbortSignal) => AsyncGenerator<Told | undefined>): Response {
    if (this.#open >= MOST_STREAMS) throw refusal(429, `${MOST_STREAMS} streams are open already`)
    const gone = new AbortController()
    const signal = AbortSignal.any([gone.signal, c.req.raw.signal])
    signal.throwIfAborted()
    this.#open++
    signal.addEventListener("abort", () => this.#open--, { once: true })
    const told = follow(signal)
    const encoder = new TextEncoder()
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const { done, value } = await told.next().catch((error: unknown) => {
          gone.abort() // what was followed went away
          throw error
        })
        if (done) return controller.close()
        const id = value?.id === undefined ? "" : `id: ${value.id}\n`
        const text = value ? `${id}data: ${JSON.stringify(value.data)}\n\n` : ": still here\n\n"
        controller.enqueue(encoder.encode(text))
      },
      cancel: () => gone.abort(),
    })
    return c.body(body, 200, { "Content-Type": "text/event-stream; charset=utf-8" })
  }
}
