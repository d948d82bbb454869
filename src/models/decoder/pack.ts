import { assert } from "../../errors.ts"
import { QUERY_CHUNK } from "../block/attention.ts"

/** One micro-batch: whole sequences one after the other, and which of their tokens are learned. */
export interface Pack {
  /** All sequences, N tokens. */
  readonly tokenIds: Int32Array
  /** Tokens of each sequence; they sum to N. */
  readonly lengths: readonly number[]
  /** For each of the S supervised tokens: the index in the pack of the token before it; of sequences to score their own. */
  readonly positions: Int32Array
  /** The supervised tokens themselves, [S]; of sequences to score the tokens at `positions`. */
  readonly labels: Int32Array
}

/** A sequence, and where the head looks at it. */
export interface PackedSequence {
  readonly tokenIds: Int32Array
  readonly lossMask: Uint8Array
  /** Of a sequence that is scored: the token whose hidden state is read, in place of the mask's. */
  readonly scoredAt?: number
}

/**
 * The tokens of a sequence that the head is asked about: those of the mask, each predicted from the
 * one before it (nothing predicts the first), or the one that is scored.
 */
export function supervisedTokens({
  lossMask,
  scoredAt,
}: Omit<PackedSequence, "tokenIds">): number[] {
  if (scoredAt !== undefined) return [scoredAt]
  const found: number[] = []
  for (let i = 1; i < lossMask.length; i++) if (lossMask[i]) found.push(i)
  return found
}

/** Sequences as one pack. */
export function packSequences(sequences: readonly PackedSequence[]): Pack {
  const total = sequences.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
  const tokenIds = new Int32Array(total)
  const positions: number[] = []
  const labels: number[] = []
  let start = 0
  for (const sequence of sequences) {
    assert(sequence.tokenIds.length === sequence.lossMask.length, "a mask value for each token")
    tokenIds.set(sequence.tokenIds, start)
    const before = sequence.scoredAt === undefined ? 1 : 0
    for (const i of supervisedTokens(sequence)) {
      positions.push(start + i - before)
      labels.push(sequence.tokenIds[i]!)
    }
    start += sequence.tokenIds.length
  }
  return {
    tokenIds,
    lengths: sequences.map((sequence) => sequence.tokenIds.length),
    positions: Int32Array.from(positions),
    labels: Int32Array.from(labels),
  }
}

export interface PackLayoutArrays {
  /** [T]: the sequence of each token; filling tokens are one more sequence. */
  readonly segments: Int32Array
  /** [T]: position inside its sequence. */
  readonly positionIds: Int32Array
  /** [T]: where each token's sequence begins. */
  readonly starts: Int32Array
}

/** The layout of a pack filled up to `tokens`. */
export function packLayout(lengths: readonly number[], tokens: number): PackLayoutArrays {
  const used = lengths.reduce((sum, length) => sum + length, 0)
  assert(used <= tokens, `a pack of ${used} tokens in ${tokens}`)
  const segments = new Int32Array(tokens)
  const positionIds = new Int32Array(tokens)
  const starts = new Int32Array(tokens)
  let start = 0
  const add = (segment: number, length: number) => {
    for (let i = 0; i < length; i++) {
      segments[start + i] = segment
      positionIds[start + i] = i
      starts[start + i] = start
    }
    start += length
  }
  lengths.forEach((length, segment) => {
    add(segment, length)
  })
  // Each filling token is alone, so that it costs no attention beyond its chunk.
  for (let filler = lengths.length; start < tokens; filler++) add(filler, 1)
  return { segments, positionIds, starts }
}

/** For each chunk of queries, the first key that any of them may see: its first query's. */
export function keyBegins({ starts }: PackLayoutArrays, window: number | undefined): Int32Array {
  const chunks = Math.ceil(starts.length / QUERY_CHUNK)
  return Int32Array.from({ length: chunks }, (_, i) => {
    const query = i * QUERY_CHUNK
    return Math.max(starts[query]!, window === undefined ? 0 : query - window + 1)
  })
}

/** Least difference between two compiled sizes. */
const GRAIN = 16

/**
 * The compiled size for `used` rows: sixteenths of the power of two above, so that a pack wastes
 * about a twentieth at most and few graphs are compiled.
 */
export function compiledSize(used: number): number {
  const grain = Math.max(GRAIN, 2 ** Math.ceil(Math.log2(used)) / 16)
  return Math.ceil(used / grain) * grain
}
