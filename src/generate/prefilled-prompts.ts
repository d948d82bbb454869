import { LANES } from "../models/block/cached.ts"
import type { CachedDecoder } from "../models/decoding/cached-decoder.ts"
import type { KvCache } from "../models/decoding/kv-cache.ts"
import type { Sample, SampleRequest } from "./sample-source.ts"
import {
  type Distribution,
  distributionsOf,
  type EncodedPrompt,
  encodedPrompt,
  kept,
  type PromptReader,
} from "./sequence.ts"

/** A prompt that has been computed, until all its samples have begun. */
export interface Prefilled extends EncodedPrompt {
  /** Where it is computed: a lane of a cache. */
  readonly cache: KvCache
  readonly cacheLane: number
  readonly first: Distribution
  begun: number
}

interface Prefilling {
  readonly signal: AbortSignal | undefined
  /** Takes the samples of prompts that leave no room for a completion. */
  readonly unanswerable: Sample[] | undefined
}

/** Each request's prompt, computed when it is asked for, short ones with some that follow. */
export async function* prefilledPrompts(
  decoder: CachedDecoder,
  reader: PromptReader,
  requests: readonly SampleRequest[],
  { signal, unanswerable }: Prefilling,
): AsyncGenerator<Prefilled> {
  const asked = requests.entries()
  const waiting: EncodedPrompt[] = []
  let cache: KvCache | undefined
  try {
    for (;;) {
      for (let next = asked.next(); !next.done; next = asked.next()) {
        const [index, request] = next.value
        const prompt = request.n > 0 && encodedPrompt(index, request, reader, unanswerable)
        if (prompt) waiting.push(prompt)
        if (waiting.length >= LANES) break
      }
      if (waiting.length === 0) return
      const lengths = waiting.map(({ ids }) => ids.length)
      const group = waiting.splice(0, decoder.promptsTogether(lengths))
      if (cache?.lanes !== group.length) {
        cache?.dispose()
        cache = await decoder.newCache(group.length, 1)
      }
      const prompts = group.map(({ ids }) => ids)
      const hidden = await decoder.prefillTogether(cache, prompts, { signal })
      const temperatures = group.map(({ request }) => request.temperature)
      const firsts = distributionsOf(await decoder.next(hidden, temperatures)).map(kept)
      for (const [cacheLane, prompt] of group.entries()) {
        yield { ...prompt, cache, cacheLane, first: firsts[cacheLane]!, begun: 0 }
      }
    }
  } finally {
    cache?.dispose()
  }
}
