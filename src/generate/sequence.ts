/** A sample being made: token after token, each drawn from its own distribution. */
import { InputError } from "../errors.ts"
import type { CachedDecoder, NextTokens } from "../models/decoding/cached-decoder.ts"
import type { KvCache } from "../models/decoding/kv-cache.ts"
import type { DecodeStream, Tokenizer } from "../text/index.ts"
import { uniform } from "./philox.ts"
import { type PromptEncoding, promptIds } from "./prompt.ts"
import {
  type Sample,
  type SampleOptions,
  type SampleRequest,
  withoutCompletion,
} from "./sample-source.ts"
import { drawToken, largestIndices, penalizedArgMax, penalizeSeen } from "./sampling.ts"
import { type StopText, stopText } from "./stop-text.ts"

/** One next-token distribution. */
export interface Distribution {
  readonly logits: Float32Array
  readonly probabilities: Float32Array
  readonly top: number
  readonly logSumExp: number
}

export function distributionsOf({
  logits,
  probabilities,
  top,
  logSumExp,
}: NextTokens): Distribution[] {
  return logits.map((row, lane) => ({
    logits: row,
    probabilities: probabilities[lane]!,
    top: top[lane]!,
    logSumExp: logSumExp[lane]!,
  }))
}

/** A distribution that outlives the decoder's next call, which writes over its memory. */
export const kept = ({ logits, probabilities, ...rest }: Distribution): Distribution => ({
  ...rest,
  logits: logits.slice(),
  probabilities: probabilities.slice(),
})

export interface EncodedPrompt {
  readonly requestIndex: number
  readonly request: SampleRequest
  readonly ids: Int32Array
}

/** What a prompt is encoded for. */
export interface PromptReader extends PromptEncoding {
  readonly vocabSize: number
  readonly contextLength: number
}

export interface SequenceReader extends PromptReader {
  readonly stopTokenIds: ReadonlySet<number>
}

/**
 * A prompt's ids, which leave room for a completion; else its samples say why, where `unanswerable`
 * takes them.
 *
 * @throws InputError for a prompt that fits no context, or has a token that the model does not
 */
export function encodedPrompt(
  requestIndex: number,
  request: SampleRequest,
  reader: PromptReader,
  unanswerable: Sample[] | undefined,
): EncodedPrompt | undefined {
  const ids = Int32Array.from(promptIds(request.prompt, reader))
  const { vocabSize, contextLength, tokenizer } = reader
  const place = request.where ?? `prompt ${requestIndex + 1}`
  const foreign = ids.find((id) => id < 0 || id >= vocabSize)
  if (foreign !== undefined) {
    throw new InputError(
      `${place}: token ${foreign} (${JSON.stringify(tokenizer.tokenText(foreign))}) has no row in the model, whose vocab_size is ${vocabSize}; the tokenizer is not the model's`,
    )
  }
  if (ids.length < contextLength) return { requestIndex, request, ids }
  const error =
    `${place} has ${ids.length} tokens; the model's ` +
    `context is ${contextLength} (max_position_embeddings), prompt and completion together`
  if (!unanswerable) throw new InputError(error)
  for (let sampleIndex = 0; sampleIndex < request.n; sampleIndex++) {
    const seed = request.seed + sampleIndex
    unanswerable.push({ requestIndex, sampleIndex, seed, ...withoutCompletion("length", error) })
  }
  return undefined
}

export interface Sequence {
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

/**
 * Prompt tokens that the text decoder reads first, so that it knows what a completion continues.
 */
const CONTEXT_TOKENS = 8

/**
 * Sample `sampleIndex` of a prompt, before its first token; `room` tokens can follow the prompt.
 */
export function begunSequence(
  { requestIndex, request, ids }: EncodedPrompt,
  sampleIndex: number,
  { tokenizer, room }: { readonly tokenizer: Tokenizer; readonly room: number },
): Sequence {
  const stream = tokenizer.decodeStream({ skipSpecialTokens: true })
  for (const id of ids.slice(-CONTEXT_TOKENS)) stream.push(id)
  return {
    requestIndex,
    sampleIndex,
    request,
    seed: request.rollout ? request.seed : request.seed + sampleIndex,
    start: ids.length,
    limit: Math.min(request.maxNewTokens, room),
    tokenIds: [],
    logprobs: [],
    stream,
    text: stopText(request.stop),
    seen: (request.repetitionPenalty ?? 1) === 1 ? undefined : new Set(ids),
  }
}

/** Draws a sequence's next token; the sample when that ends it. */
export function accepted(
  sequence: Sequence,
  { logits, probabilities, top, logSumExp }: Distribution,
  stopTokenIds: ReadonlySet<number>,
  onToken: SampleOptions["onToken"],
): Sample | undefined {
  const { tokenIds, requestIndex, sampleIndex } = sequence
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
  const { shown, sample } = taken(sequence, id, logprob, stopTokenIds)
  const { alternatives = 0 } = sequence.request
  const likeliest = largestIndices(logits, alternatives).map((tokenId) => ({
    tokenId,
    logprob: logits[tokenId]! - logSumExp,
  }))
  onToken?.({ requestIndex, sampleIndex, tokenId: id, logprob, top: likeliest, text: shown })
  return sample
}

/** Adds a token that was drawn: what can be shown of it, and the sample when it ends it. */
export function taken(
  sequence: Sequence,
  id: number,
  logprob: number,
  stopTokenIds: ReadonlySet<number>,
): { readonly shown: string; readonly sample: Sample | undefined } {
  const { tokenIds, logprobs, stream, text, requestIndex, sampleIndex, seed } = sequence
  tokenIds.push(id)
  logprobs.push(logprob)
  const stops = stopTokenIds.has(id)
  let shown = stops ? "" : text.push(stream.push(id))
  const full = tokenIds.length >= sequence.limit
  const ended = stops || text.stopped || full
  if (ended && !text.stopped) shown += text.push(stream.end()) + text.end()
  if (!ended) return { shown, sample: undefined }
  const sample: Sample = {
    requestIndex,
    sampleIndex,
    completion: text.text,
    tokenIds,
    logprobs,
    finishReason: stops || text.stopped ? "stop" : "length",
    seed,
  }
  return { shown, sample }
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

/** One more token of each lane that has a sequence: the distributions of what follows. */
export async function stepped(
  decoder: CachedDecoder,
  cache: KvCache,
  active: readonly (Sequence | undefined)[],
): Promise<Distribution[]> {
  const ids = active.map((s) => s?.tokenIds[s.tokenIds.length - 1] ?? 0)
  const places = active.map((s) => (s ? s.start + s.tokenIds.length - 1 : 0))
  const hidden = await decoder.decode(cache, ids, places)
  const temperatures = active.map((s) => s?.request.temperature ?? 1)
  return distributionsOf(await decoder.next(hidden, temperatures))
}
