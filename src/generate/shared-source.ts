import { setImmediate } from "node:timers/promises"
import { CachedDecoder } from "../models/decoding/cached-decoder.ts"
import { DecodingBatch } from "./decoding-batch.ts"
import { type LocalSourceOptions, sequenceReader } from "./local-source.ts"
import type { Sample, SampleOptions, SampleRequest, SampleSource } from "./sample-source.ts"

/**
 * A model on this machine that many ask at once: their sequences go through it together, and each
 * sample is the one that its request has alone.
 */
export class SharedSource implements SampleSource {
  readonly #decoder: CachedDecoder
  readonly #batch: DecodingBatch
  #pumping: Promise<void> | undefined
  /** Told after each step. */
  readonly #watching = new Set<() => void>()

  constructor(options: Omit<LocalSourceOptions, "continues">) {
    this.#decoder = new CachedDecoder(options.model)
    this.#batch = new DecodingBatch(this.#decoder, sequenceReader(options, this.#decoder))
  }

  /** Sequences that are decoded now. */
  get computing(): number {
    return this.#batch.computing
  }

  async *sample(
    requests: readonly SampleRequest[],
    options: SampleOptions = {},
  ): AsyncGenerator<Sample> {
    const job = this.#batch.join(requests, options)
    this.#pumping ??= this.#pump()
    try {
      for (;;) {
        yield* job.samples.splice(0)
        if (job.done) break
        await this.#stepDone()
      }
    } finally {
      this.#batch.leave(job)
    }
    if (job.error !== undefined) throw job.error
  }

  /** Once nobody asks; the model's weights are the caller's. */
  async release(): Promise<void> {
    await this.#pumping
    await this.#decoder.release()
  }

  async #pump(): Promise<void> {
    await setImmediate() // whoever asks in the same turn is computed from the first step on
    while (this.#batch.busy) {
      await this.#batch.step()
      for (const told of [...this.#watching]) told()
      await setImmediate() // requests that have come meanwhile join the next step
    }
    this.#pumping = undefined
  }

  #stepDone(): Promise<void> {
    return new Promise((resolve) => {
      const told = () => {
        this.#watching.delete(told)
        resolve()
      }
      this.#watching.add(told)
    })
  }
}
