import { InputError } from "../errors.ts"
import { LANES } from "../models/block/cached.ts"
import { CachedDecoder, type NextTokens } from "../models/decoding/cached-decoder.ts"
import type { CachedModel } from "../models/decoding/decoding-stages.ts"
import type { KvCache } from "../models/decoding/kv-cache.ts"
import type { PackedModel } from "../models/decoding/packed-model.ts"
import type { DecodeStream } from "../text/index.ts"
import { uniform } from "./philox.ts"
import { type PromptEncoding, promptIds } from "./prompt.ts"
import {
  type Sample,
  type SampleOptions,
  type SampleRequest,
  type SampleSource,
  withoutCompletion,
} from "./sample-source.ts"
import { drawToken, largestIndices, penalizedArgMax, penalizeSeen } from "./sampling.ts"
import { type StopText, stopText } from "./stop-text.ts"

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

/** One next-token distribution. */
interface Distribution {
  readonly logits: Float32Array
  readonly probabilities: Float32Array
  readonly top: number
  readonly logSumExp: number
}

function distributionsOf({ logits, probabilities, top, logSumExp }: NextTokens): Distribution[] {
  return logits.map((row, lane) => ({
    logits: row,
    probabilities: probabilities[lane]!,
    top: top[lane]!,
    logSumExp: logSumExp[lane]!,
  }))
}

interface EncodedPrompt {
  readonly requestIndex: number
  readonly request: SampleRequest
  readonly ids: Int32Array
}

/** A prompt that has been computed, until all its samples have begun. */
interface Prefilled extends EncodedPrompt {
  /** Where it is computed: a lane of a cache. */
  readonly cache: KvCache
  readonly cacheLane: number
  readonly first: Distribution
  begun: number
}

/** A cache of one lane and the tokens that it holds. */
interface Conversation {
  readonly cache: KvCache
  ids: number[]
}

/** A sample being made. */
interface Sequence {
  readonly requestIndex: number
  readonly sampleIndex: number
  readonly request: SampleRequest
  readonly seed: number
  /** Tokens before the first sampled one. */
  readonly start: number
  readonly limit: number
  readonly tokenIds: number[]
  readonly logprobs: number[]
  readonly stream: DecodeStream
  readonly text: StopText
  /** Under a repetition penalty: the tokens of the prompt and of the completion so far. */
  readonly seen: Set<number> | undefined
}

/** Prompt tokens that the text decoder reads first, so that it knows what a completion continues. */
const CONTEXT_TOKENS = 8

/**
 * Samples from a model on this machine. Up to sixteen sequences are decoded at once; one that ends
 * leaves its lane to the next that waits. A prompt is computed once for all its samples. What a
 * sample becomes depends on its prompt, settings and seed alone.
 */
export class LocalSource implements SampleSource {
  readonly #options: LocalSourceOptions
  readonly #decoder: CachedDecoder
  /** Between calls, with `continues`. */
  #kept: Conversation | undefined

  constructor(options: LocalSourceOptions) {
    this.#options = options
    this.#decoder = new CachedDecoder(options.model)
  }

  async *sample(
    requests: readonly SampleRequest[],
    { signal, onToken, keepGoing = false }: SampleOptions = {},
  ): AsyncGenerator<Sample> {
    const unanswerable: Sample[] | undefined = keepGoing ? [] : undefined
    const wanted = requests.reduce((sum, { n }) => sum + n, 0)
    if (wanted === 0) return
    const kept = await this.#conversation()
    const lanes = kept ? 1 : this.#decoder.lanesFor(wanted)
    const cache = kept?.cache ?? (await this.#decoder.newCache(lanes, 1))
    const active = new Array<Sequence | undefined>(lanes).fill(undefined)
    const source = this.#prompts(requests, kept, { signal, unanswerable })
    try {
      let prompt = await nextPrompt(source)
      for (;;) {
        if (unanswerable) yield* unanswerable.splice(0)
        for (let lane = 0; lane < active.length && prompt; lane++) {
          while (!active[lane] && prompt) {
            const sequence = this.#begin(prompt)
            const sample = this.#accept(sequence, prompt.first, onToken)
            if (sample) yield sample
            else {
              if (!kept) {
                const from = { lane: prompt.cacheLane, tokens: prompt.ids.length }
                await cache.copyFrom(prompt.cache, lane, from)
              }
              active[lane] = sequence
            }
            if (prompt.begun === prompt.request.n) prompt = await nextPrompt(source)
          }
        }
        if (active.every((sequence) => sequence === undefined)) {
          if (unanswerable) yield* unanswerable.splice(0)
          return
        }
        signal?.throwIfAborted()
        const distributions = await this.#step(cache, active)
        for (const [lane, sequence] of active.entries()) {
          if (!sequence) continue
          const sample = this.#accept(sequence, distributions[lane]!, onToken)
          if (!sample) continue
          active[lane] = undefined
          yield sample
        }
        if (!prompt && !kept) await this.#giveUpLanes(cache, active)
      }
    } finally {
      await source.return(undefined)
      if (!kept) cache.dispose()
    }
  }

  /** Compiled graphs and buffers; the model's weights are the caller's. */
  async release(): Promise<void> {
    this.#kept?.cache.dispose()
    this.#kept = undefined
    await this.#decoder.release()
  }

  async #conversation() {
    if (!this.#options.continues) return undefined
    this.#kept ??= { cache: await this.#decoder.newCache(1, 1), ids: [] }
    return this.#kept
  }

  /** Computes what is new of a conversation. */
  async #goOn(kept: Conversation, ids: Int32Array, signal: AbortSignal | undefined) {
    const start = sharedLength(kept.ids, ids)
    kept.ids.length = start // should it be cut short
    const hidden = await this.#decoder.prefill(kept.cache, ids, { start, signal })
    kept.ids = [...ids]
    return hidden
  }

  /** A prompt's ids, which leave room for a completion; else undefined, and its samples say why. */
  #encoded(
    requestIndex: number,
    request: SampleRequest,
    unanswerable: Sample[] | undefined,
  ): EncodedPrompt | undefined {
    const ids = Int32Array.from(promptIds(request.prompt, this.#options))
    const { model, tokenizer } = this.#options
    const { vocabSize } = model.shape
    const foreign = ids.find((id) => id < 0 || id >= vocabSize)
    if (foreign !== undefined) {
      throw new InputError(
        `${request.where ?? `prompt ${requestIndex + 1}`}: token ${foreign} (${JSON.stringify(tokenizer.tokenText(foreign))}) has no row in the model, whose vocab_size is ${vocabSize}; the tokenizer is not the model's`,
      )
    }
    if (ids.length < this.#decoder.contextLength) return { requestIndex, request, ids }
    const error =
      `${request.where ?? `prompt ${requestIndex + 1}`} has ${ids.length} tokens; the model's ` +
      `context is ${this.#decoder.contextLength} (max_position_embeddings), prompt and completion together`
    if (!unanswerable) throw new InputError(error)
    for (let sampleIndex = 0; sampleIndex < request.n; sampleIndex++) {
      const seed = request.seed + sampleIndex
      unanswerable.push({ requestIndex, sampleIndex, seed, ...withoutCompletion("length", error) })
    }
    return undefined
  }

  /** Each request's prompt, computed when it is asked for, short ones with some that follow. */
  async *#prompts(
    requests: readonly SampleRequest[],
    conversation: Conversation | undefined,
    asking: { signal: AbortSignal | undefined; unanswerable: Sample[] | undefined },
  ): AsyncGenerator<Prefilled> {
    const { signal, unanswerable } = asking
    const asked = requests.entries()
    const waiting: EncodedPrompt[] = []
    let cache = conversation?.cache
    try {
      for (;;) {
        for (let next = asked.next(); !next.done; next = asked.next()) {
          const prompt = next.value[1].n > 0 && this.#encoded(...next.value, unanswerable)
          if (prompt) waiting.push(prompt)
          if (waiting.length >= (conversation ? 1 : LANES)) break
        }
        if (waiting.length === 0) return
        const lengths = waiting.map(({ ids }) => ids.length)
        const group = waiting.splice(0, this.#decoder.promptsTogether(lengths))
        if (cache?.lanes !== group.length) {
          cache?.dispose()
          cache = await this.#decoder.newCache(group.length, 1)
        }
        const prompts = group.map(({ ids }) => ids)
        const hidden = conversation
          ? await this.#goOn(conversation, prompts[0]!, signal)
          : await this.#decoder.prefillTogether(cache, prompts, { signal })
        const temperatures = group.map(({ request }) => request.temperature)
        const firsts = distributionsOf(await this.#decoder.next(hidden, temperatures)).map(
          // The next call of the decoder writes over them.
          ({ logits, probabilities, ...rest }) => ({
            ...rest,
            logits: logits.slice(),
            probabilities: probabilities.slice(),
          }),
        )
        for (const [cacheLane, prompt] of group.entries()) {
          yield { ...prompt, cache, cacheLane, first: firsts[cacheLane]!, begun: 0 }
        }
      }
    } finally {
      if (!conversation) cache?.dispose()
    }
  }

  #begin(prompt: Prefilled): Sequence {
    const { requestIndex, request, ids } = prompt
    const sampleIndex = prompt.begun++
    if (this.#kept) this.#kept.ids.length = ids.length
    const stream = this.#options.tokenizer.decodeStream({ skipSpecialTokens: true })
    for (const id of ids.slice(-CONTEXT_TOKENS)) stream.push(id)
    return {
      requestIndex,
      sampleIndex,
      request,
      seed: request.rollout ? request.seed : request.seed + sampleIndex,
      start: ids.length,
      limit: Math.min(request.maxNewTokens, this.#decoder.room(ids.length)),
      tokenIds: [],
      logprobs: [],
      stream,
      text: stopText(request.stop),
      seen: (request.repetitionPenalty ?? 1) === 1 ? undefined : new Set(ids),
    }
  }

  async #step(
    cache: KvCache,
    active: readonly (Sequence | undefined)[],
  ): Promise<(Distribution | undefined)[]> {
    const ids = active.map((s) => s?.tokenIds[s.tokenIds.length - 1] ?? 0)
    const places = active.map((s) => (s ? s.start + s.tokenIds.length - 1 : 0))
    const hidden = await this.#decoder.decode(cache, ids, places)
    this.#kept?.ids.push(ids[0]!)
    const next = await this.#decoder.next(
      hidden,
      active.map((s) => s?.request.temperature ?? 1),
    )
    return distributionsOf(next)
  }

  /** With nobody waiting, lanes whose sequences have ended would be computed for nothing. */
  async #giveUpLanes(cache: KvCache, active: (Sequence | undefined)[]): Promise<void> {
    const busy = [...active.keys()].filter((lane) => active[lane])
    const lanes = busy.length === 0 ? 0 : this.#decoder.lanesFor(busy.length)
    if (lanes === 0 || lanes >= active.length) return
    const idle = [...active.keys()].filter((lane) => !active[lane])
    const kept = [...busy, ...idle.slice(0, lanes - busy.length)].sort((a, b) => a - b)
    await cache.keepLanes(kept)
    active.splice(0, active.length, ...kept.map((lane) => active[lane]))
  }

  /** Draws the next token; the sample when that ends it. */
  #accept(
    sequence: Sequence,
    { logits, probabilities, top, logSumExp }: Distribution,
    onToken: SampleOptions["onToken"],
  ): Sample | undefined {
    const { tokenIds, stream, text, requestIndex, sampleIndex, seed } = sequence
    if (!Number.isFinite(logSumExp)) {
      throw new InputError(
        `prompt ${requestIndex + 1}: the model's logits are no finite numbers after ` +
          `${tokenIds.length} tokens; its weights are damaged, or its training has diverged`,
      )
    }
    const id = chosen(sequence, logits, probabilities, top)
    sequence.seen?.add(id)
    const logprob =
      sequence.request.rollout && sequence.request.temperature !== 1
        ? logShare(probabilities, id)
        : logits[id]! - logSumExp
    tokenIds.push(id)
    sequence.logprobs.push(logprob)
    const stops = this.#options.stopTokenIds.has(id)
    let shown = stops ? "" : text.push(stream.push(id))
    const full = tokenIds.length >= sequence.limit
    const ended = stops || text.stopped || full
    if (ended && !text.stopped) shown += text.push(stream.end()) + text.end()
    const { alternatives = 0 } = sequence.request
    const likeliest = largestIndices(logits, alternatives).map((tokenId) => ({
      tokenId,
      logprob: logits[tokenId]! - logSumExp,
    }))
    onToken?.({ requestIndex, sampleIndex, tokenId: id, logprob, top: likeliest, text: shown })
    if (!ended) return undefined
    return {
      requestIndex,
      sampleIndex,
      completion: text.text,
      tokenIds,
      logprobs: sequence.logprobs,
      finishReason: stops || text.stopped ? "stop" : "length",
      seed,
    }
  }
}

/** The next token; under a penalty, from weights of its own: lanes of one prompt share theirs. */
function chosen(
  { request, seen, seed, tokenIds, sampleIndex }: Sequence,
  logits: Float32Array,
  probabilities: Float32Array,
  top: number,
): number {
  const { temperature, repetitionPenalty: penalty = 1, rollout } = request
  const stream =
    rollout && ([rollout.first + sampleIndex, rollout.number, rollout.attempt] as const)
  const drawn = () => uniform(seed, tokenIds.length, stream)
  if (!seen) {
    if (temperature === 0) return logits.indexOf(top)
    return drawToken(probabilities, request, drawn())
  }
  if (temperature === 0) return penalizedArgMax(logits, seen, penalty)
  const weights = probabilities.slice()
  penalizeSeen(weights, logits, seen, { penalty, temperature })
  return drawToken(weights, request, drawn())
}

/** ln of what one weight has of all of them, summed in float64. */
function logShare(weights: Float32Array, id: number): number {
  let sum = 0
  for (const weight of weights) sum += weight
  return Math.log(weights[id]! / sum)
}

/** Tokens that need not be computed again; the last of `ids` always is, for what follows it. */
function sharedLength(held: readonly number[], ids: Int32Array): number {
  let length = 0
  while (length < ids.length - 1 && held[length] === ids[length]) length++
  return length
}

async function nextPrompt(source: AsyncGenerator<Prefilled>): Promise<Prefilled | undefined> {
  const { done, value } = await source.next()
  return done ? undefined : value
}
