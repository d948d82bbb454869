import { CachedDecoder } from "../models/decoding/cached-decoder.ts"
import type { CachedModel } from "../models/decoding/decoding-stages.ts"
import type { PackedModel } from "../models/decoding/packed-model.ts"
import { Conversation } from "./conversation.ts"
import { DecodingBatch } from "./decoding-batch.ts"
import type { PromptEncoding } from "./prompt.ts"
import type { Sample, SampleOptions, SampleRequest, SampleSource } from "./sample-source.ts"
import type { SequenceReader } from "./sequence.ts"

export interface LocalSourceOptions extends PromptEncoding {
  readonly model: CachedModel | PackedModel
  /** Tokens that end a completion: all of generation_config.json's and the tokenizer's own. */
  readonly stopTokenIds: ReadonlySet<number>
  /**
   * For conversations: a prompt that begins as the last one and its answer did is computed from
   * where they part. One sequence at a time.
   */
  readonly continues?: boolean
}

/** What a batch needs to know of a model beside its decoder. */
export const sequenceReader = (
  options: LocalSourceOptions,
  decoder: CachedDecoder,
): SequenceReader => ({
  tokenizer: options.tokenizer,
  template: options.template,
  stopTokenIds: options.stopTokenIds,
  vocabSize: options.model.shape.vocabSize,
  contextLength: decoder.contextLength,
})

/**
 * Samples from a model on this machine. Up to sixteen sequences are decoded at once; one that ends
 * leaves its lane to the next that waits. A prompt is computed once for all its samples. What a
 * sample becomes depends on its prompt, settings and seed alone.
 */
export class LocalSource implements SampleSource {
  readonly #decoder: CachedDecoder
  readonly #reader: SequenceReader
  readonly #conversation: Conversation | undefined

  constructor(options: LocalSourceOptions) {
    this.#decoder = new CachedDecoder(options.model)
    this.#reader = sequenceReader(options, this.#decoder)
    if (options.continues) this.#conversation = new Conversation(this.#decoder, this.#reader)
  }

  /** One call at a time. */
  async *sample(
    requests: readonly SampleRequest[],
    options: SampleOptions = {},
  ): AsyncGenerator<Sample> {
    if (this.#conversation) return yield* this.#conversation.sample(requests, options)
    const batch = new DecodingBatch(this.#decoder, this.#reader)
    const job = batch.join(requests, options)
    try {
      while (!job.done) {
        await batch.step()
        yield* job.samples.splice(0)
      }
    } finally {
      batch.leave(job)
      if (!job.done) await batch.step()
    }
    if (job.error !== undefined) throw job.error
  }

  /** Compiled graphs and buffers; the model's weights are the caller's. */
  async release(): Promise<void> {
    this.#conversation?.dispose()
    await this.#decoder.release()
  }
}
