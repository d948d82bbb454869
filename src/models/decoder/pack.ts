import { assert } from "../../errors.ts"
import { QUERY_CHUNK } from "../block/attention.ts"

/** One micro-batch: sequences one after the other, and which of their tokens are learned. */
export interface Pack {
  /** Of all sequences, N tokens; what some begin with alike is there once, and goes before them. */
  readonly tokenIds: Int32Array
  /**
   * Tokens of each piece: a sequence, a beginning of several, or what one of those goes on with.
   * They sum to N.
   */
  readonly lengths: readonly number[]
  /**
   * Of each piece the one that it goes on from, -1 for none; left out where every piece is a
   * sequence.
   */
  readonly follows?: readonly number[]
  /**
   * For each of the S supervised tokens: the index in the pack of the token before it; of sequences
   * to score their own.
   */
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

/** Sequences of which the first `shared` tokens are alike. */
export interface SequenceGroup {
  readonly sequences: readonly PackedSequence[]
  readonly shared: number
}

/** Sequences as one pack, each whole. */
export function packSequences(sequences: readonly PackedSequence[]): Pack {
  return packGroups(sequences.map((one) => ({ sequences: [one], shared: 0 })))
}

/** Tokens that a group takes in a pack. */
export function groupTokens(lengths: readonly number[], shared: number): number {
  return lengths.reduce((sum, length) => sum + length - shared, shared)
}

/**
 * The same with what a group shares there once: the hidden states of a beginning depend on nothing
 * behind it. Its last one predicts the next token of every sequence, so `positions` may repeat.
 */
export function packGroups(groups: readonly SequenceGroup[]): Pack {
  const sizes = groups.map(({ sequences, shared }) =>
    groupTokens(
      sequences.map(({ tokenIds }) => tokenIds.length),
      shared,
    ),
  )
  const tokenIds = new Int32Array(sizes.reduce((sum, size) => sum + size, 0))
  const lengths: number[] = []
  const follows: number[] = []
  const positions: number[] = []
  const labels: number[] = []
  let end = 0
  const addPiece = (ids: Int32Array, after: number) => {
    tokenIds.set(ids, end)
    end += ids.length
    follows.push(after)
    return lengths.push(ids.length) - 1
  }
  for (const { sequences, shared } of groups) {
    const begin = end
    const beginning = shared > 0 ? addPiece(sequences[0]!.tokenIds.subarray(0, shared), -1) : -1
    for (const sequence of sequences) {
      assert(sequence.tokenIds.length === sequence.lossMask.length, "a mask value for each token")
      assert(sequence.tokenIds.length > shared, "a sequence is more than what it shares")
      const own = end - shared
      addPiece(sequence.tokenIds.subarray(shared), beginning)
      const before = sequence.scoredAt === undefined ? 1 : 0
      for (const i of supervisedTokens(sequence)) {
        const place = i - before
        positions.push(place + (place < shared ? begin : own))
        labels.push(sequence.tokenIds[i]!)
      }
    }
  }
  return {
    tokenIds,
    lengths,
    ...(follows.some((after) => after !== -1) ? { follows } : {}),
    positions: Int32Array.from(positions),
    labels: Int32Array.from(labels),
  }
}

/** Tokens of a pack that stand side by side. */
interface Piece {
  /** Index of its first token in the pack, and the place of that one in its sequence. */
  readonly begin: number
  readonly place: number
  readonly length: number
  /** The piece that it goes on from. */
  readonly before: Piece | undefined
}

export interface PackLayoutArrays {
  /** [T]: the last token that may see each: that of its sequence, or of the last that shares it. */
  readonly ends: Int32Array
  /** [T]: place inside its sequence. */
  readonly positionIds: Int32Array
  /** [T]: tokens of its sequence, of the longest that shares it. */
  readonly sequenceLengths: Int32Array
  /** [T]: where each token lies; filling tokens are pieces of their own. */
  readonly pieces: readonly Piece[]
}

/** The layout of a pack filled up to `tokens`. */
export function packLayout(
  { lengths, follows }: Pick<Pack, "lengths" | "follows">,
  tokens: number,
): PackLayoutArrays {
  const used = lengths.reduce((sum, length) => sum + length, 0)
  assert(used <= tokens, `a pack of ${used} tokens in ${tokens}`)
  const pieces: Piece[] = []
  let begin = 0
  lengths.forEach((length, i) => {
    const after = follows?.[i] ?? -1
    const isNext = after === -1 || after === i - 1 || after === follows![i - 1]
    assert(isNext, "what goes on from a piece stands directly behind it")
    const before = after === -1 ? undefined : pieces[after]!
    pieces.push({ begin, length, before, place: before ? before.place + before.length : 0 })
    begin += length
  })
  // Each filling token is alone, so that it costs no attention beyond its chunk.
  for (; begin < tokens; begin++) pieces.push({ begin, place: 0, length: 1, before: undefined })
  return layoutOf(pieces, tokens)
}

function layoutOf(pieces: readonly Piece[], tokens: number): PackLayoutArrays {
  const ends = new Int32Array(tokens)
  const positionIds = new Int32Array(tokens)
  const sequenceLengths = new Int32Array(tokens)
  const pieceOf: Piece[] = []
  for (const piece of pieces) {
    const { begin, place, length } = piece
    const end = begin + length
    for (let i = begin; i < end; i++) {
      positionIds[i] = place + i - begin
      pieceOf.push(piece)
    }
    for (let each: Piece | undefined = piece; each; each = each.before) {
      ends.fill(end - 1, each.begin, each.begin + each.length)
      const longest = Math.max(place + length, sequenceLengths[each.begin]!)
      sequenceLengths.fill(longest, each.begin, each.begin + each.length)
    }
  }
  return { ends, positionIds, sequenceLengths, pieces: pieceOf }
}

/** For each chunk of queries, the first key that any of them may see. */
export function keyBegins(
  { positionIds, pieces }: PackLayoutArrays,
  window: number | undefined,
): Int32Array {
  const begins = new Int32Array(Math.ceil(pieces.length / QUERY_CHUNK)).fill(pieces.length)
  pieces.forEach((own, query) => {
    const first = window === undefined ? 0 : Math.max(0, positionIds[query]! - window + 1)
    let piece = own
    while (first < piece.place) piece = piece.before!
    const chunk = Math.floor(query / QUERY_CHUNK)
    begins[chunk] = Math.min(begins[chunk]!, piece.begin + first - piece.place)
  })
  return begins
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
