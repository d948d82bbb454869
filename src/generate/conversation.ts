import type { CachedDecoder } from "../models/decoding/cached-decoder.ts"
import type { KvCache } from "../models/decoding/kv-cache.ts"
import type { Sample, SampleOptions, SampleRequest } from "./sample-source.ts"
import {
  accepted,
  begunSequence,
  distributionsOf,
  encodedPrompt,
  kept,
  type SequenceReader,
  stepped,
} from "./sequence.ts"

/**
 * One sequence at a time; a prompt that begins as the last one did is computed from where they
 * part.
 */
export class Conversation {
  readonly #decoder: CachedDecoder
  readonly #reader: SequenceReader
  /** One lane, and the tokens that it holds. */
  #cache: KvCache | undefined
  #ids: number[] = []

  constructor(decoder: CachedDecoder, reader: SequenceReader) {
    this.#decoder = decoder
    this.#reader = reader
  }

  async *sample(
    requests: readonly SampleRequest[],
    { signal, onToken, keepGoing = false }: SampleOptions,
  ): AsyncGenerator<Sample> {
    const decoder = this.#decoder
    const unanswerable: Sample[] | undefined = keepGoing ? [] : undefined
    for (const [requestIndex, request] of requests.entries()) {
      if (request.n === 0) continue
      const prompt = encodedPrompt(requestIndex, request, this.#reader, unanswerable)
      if (unanswerable) yield* unanswerable.splice(0)
      if (!prompt) continue
      const { cache, hidden } = await this.#computed(prompt.ids, signal)
      const next = await decoder.next(hidden, [request.temperature])
      const first = kept(distributionsOf(next)[0]!)
      for (let sampleIndex = 0; sampleIndex < request.n; sampleIndex++) {
        this.#ids.length = prompt.ids.length
        const { tokenizer, stopTokenIds } = this.#reader
        const room = decoder.room(prompt.ids.length)
        const sequence = begunSequence(prompt, sampleIndex, { tokenizer, room })
        let sample = accepted(sequence, first, stopTokenIds, onToken)
        while (!sample) {
          signal?.throwIfAborted()
          const [distribution] = await stepped(decoder, cache, [sequence])
          this.#ids.push(sequence.tokenIds.at(-1)!)
          sample = accepted(sequence, distribution!, stopTokenIds, onToken)
        }
        yield sample
      }
    }
  }

  dispose(): void {
    this.#cache?.dispose()
    this.#cache = undefined
    this.#ids = []
  }

  /** Computes what is new of a prompt. */
  async #computed(ids: Int32Array, signal: AbortSignal | undefined) {
    this.#cache ??= await this.#decoder.newCache(1, 1)
    const start = sharedLength(this.#ids, ids)
    this.#ids.length = start // should it be cut short
    const hidden = await this.#decoder.prefill(this.#cache, ids, { start, signal })
    this.#ids = [...ids]
    return { cache: this.#cache, hidden }
  }
}

/** Tokens that need not be computed again; the last of `ids` always is, for what follows it. */
function sharedLength(held: readonly number[], ids: Int32Array): number {
  let length = 0
  while (length < ids.length - 1 && held[length] === ids[length]) length++
  return length
}
