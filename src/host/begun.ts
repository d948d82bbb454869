/** Work that is going on: what happens in it, as it happens, and how it ended. */
export interface Begun<Event, Result> extends AsyncIterable<Event> {
  /** Rejects with InputError for what the user can mend. */
  readonly result: Promise<Result>
}

/**
 * Work that says how it goes: `events`, begun at once. They need not be read: it goes on all the
 * same, and `result` settles with what they return.
 */
export function begun<Event, Result>(
  events: () => AsyncGenerator<Event, Result>,
): Begun<Event, Result> {
  const queue = new EventQueue<Event>()
  const finished = async (): Promise<Result> => {
    const source = events()
    try {
      for (;;) {
        const next = await source.next()
        if (next.done) return next.value
        queue.push(next.value)
      }
    } finally {
      queue.end()
    }
  }
  const result = finished()
  // Whoever reads only the events must not be ended by an unhandled rejection: they see it here.
  result.catch(() => {})
  return {
    result,
    async *[Symbol.asyncIterator]() {
      yield* queue
      await result
    },
  }
}

/** Events waiting to be read. */
class EventQueue<Event> implements AsyncIterable<Event> {
  readonly #waiting: Event[] = []
  #ended = false
  #wake: () => void = () => {}

  push(event: Event): void {
    this.#waiting.push(event)
    this.#wake()
  }
  end(): void {
    this.#ended = true
    this.#wake()
  }
  async *[Symbol.asyncIterator](): AsyncGenerator<Event> {
    for (;;) {
      while (this.#waiting.length > 0) yield this.#waiting.shift()!
      if (this.#ended) return
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
