import { composite, concat, constant, range, type Tensor } from "../../graph/index.ts"
import type { AttentionOptions } from "./parts.ts"

/** Tokens of a pack whose queries are computed at once; scores of one chunk stay in cache. */
export const QUERY_CHUNK = 128

const exactRows = { transB: true, exact: true } as const

/** Which keys each token may see, in a pack of T tokens. */
export interface PackLayout {
  /** int64 [T]: the last token of the pack that may see a token. */
  readonly ends: Tensor
  /** int64 [T / QUERY_CHUNK]: for each chunk of queries, the first key any of them may see. */
  readonly keyBegins: Tensor
  /**
   * A token sees itself and those whose place is less than `size` before its own; undefined: all
   * before it.
   */
  readonly window?:
    | {
        readonly size: number
        /** int64 [T]: each token's place in its sequence. */
        readonly places: Tensor
      }
    | undefined
}

export function chunkCount(tokens: number): number {
  return Math.ceil(tokens / QUERY_CHUNK)
}

interface Chunk {
  readonly index: number
  readonly start: number
  readonly end: number
  /** int64 [1] */
  readonly keyBegin: Tensor
  readonly keyEnd: Tensor
  /** The chunk's number of keys, known when it runs. */
  readonly keys: string
}

function chunks(tokens: number, layout: PackLayout): Chunk[] {
  return Array.from({ length: chunkCount(tokens) }, (_, index) => {
    const start = index * QUERY_CHUNK
    const end = Math.min(tokens, start + QUERY_CHUNK)
    const keyBegin = layout.keyBegins.slice(0, index, index + 1)
    const keys = `${KEYS}${index}`
    return { index, start, end, keyBegin, keyEnd: constant([end], "i64"), keys }
  })
}

const KEYS = "keys"

/** The most keys that the named dimension of a chunk can have: those up to its last query. */
export function mostKeys(name: string): number {
  return (Number(name.slice(KEYS.length)) + 1) * QUERY_CHUNK
}

/**
 * 0 where the query may see the key (same sequence, not later, in the window), else -inf: [Tc,
 * keys].
 */
function chunkMask(
  { start, end, keyBegin, keyEnd, keys }: Chunk,
  { ends, window }: PackLayout,
): Tensor {
  const tokens = ends.shape[0] as number
  const rows = end - start
  const ofQueries = (x: Tensor) => x.slice(0, start, end).reshape([rows, 1])
  const ofKeys = (x: Tensor) => x.sliceBy(0, keyBegin, keyEnd, keys)
  const position = range(tokens)
  const before = ofKeys(position)
    .lessOrEqual(ofQueries(position))
    .and(ofQueries(position).lessOrEqual(ofKeys(ends)))
  const visible =
    window === undefined
      ? before
      : before.and(
          ofQueries(window.places).less(ofKeys(window.places).add(constant([window.size], "i64"))),
        )
  return visible.where(0, Number.NEGATIVE_INFINITY)
}

/**
 * Packs of more chunks than this go back one chunk after the other. A runtime orders what does not
 * depend on each other as it likes, and may hold the scores of all chunks at once: T^2 of them.
 */
const CHUNKS_AT_ONCE = 8

/** The chunk, whose keys are not there before `results` are computed. */
function after(chunk: Chunk, results: readonly Tensor[]): Chunk {
  const ones = results.map((x) =>
    x.shape.reduce<Tensor>((part, _, axis) => part.slice(axis, 0, 1), x).reshape([1]),
  )
  const one = ones.reduce((sum, x) => sum.add(x))
  // Nothing is less than itself, and no compiler knows it.
  const zero = one.less(one).where(constant([1], "i64"), constant([0], "i64"))
  return { ...chunk, keyBegin: chunk.keyBegin.add(zero) }
}

/** What one chunk's softmax is made of and gives, [K, G Tc, keys] each. */
interface ChunkScores {
  /** tanh(s / softcap), where there is a cap. */
  readonly capped: Tensor | undefined
  readonly p: Tensor
}

/** Softmax of the scaled, capped and masked scores of one chunk: q [K, G Tc, D], k [K, keys, D]. */
function chunkScores(
  q: Tensor,
  k: Tensor,
  mask: Tensor,
  { scale, softcap }: Required<Pick<AttentionOptions, "scale">> & AttentionOptions,
): ChunkScores {
  const [kvHeads, rows] = q.shape as [number, number]
  const [chunk, keys] = mask.shape as [number, string]
  const group = rows / chunk
  const alpha = softcap === undefined ? scale : scale / softcap
  const products = q.matmul(k, { transB: true, alpha })
  const capped = softcap === undefined ? undefined : tanh(products)
  const p = (capped && softcap !== undefined ? capped.mul(softcap) : products)
    .reshape([kvHeads, group, chunk, keys])
    .add(mask)
    .softmax()
    .reshape([kvHeads, rows, keys])
  return { capped, p }
}

/** 2 sigmoid(2x) - 1. */
export const tanh = (x: Tensor): Tensor => x.mul(2).sigmoid().mul(2).sub(1)

/**
 * Causal attention inside the sequences of a pack, grouped queries.
 *
 *     o = softmax(cap(scale q k^T) + mask) v,   cap(s) = softcap tanh(s / softcap) or s
 *
 * q [K, G, T, D], k and v [K, T, D] -> [K, G, T, D]. Queries go chunk by chunk, each against its
 * own range of keys only, so neither the future, nor what lies before the window, nor another
 * sequence far away costs anything. The gradient is written by hand (FlashAttention, arXiv
 * 2205.14135, section B.2):
 *
 *     dv = p^T do,  ds = p (do v^T - rowsum(do o)),  dq = scale ds k,  dk = scale ds^T q
 *
 * with the subtraction inside the product, as one more column, and ds times 1 - tanh^2 under a cap.
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  layout: PackLayout,
  options: AttentionOptions = {},
): Tensor {
  const [kvHeads, group, tokens, headDim] = q.shape as [number, number, number, number]
  const { scale = 1 / Math.sqrt(headDim), softcap, chunksAtOnce = CHUNKS_AT_ONCE } = options
  const parts = chunks(tokens, layout)

  const rowsOf = (x: Tensor, { start, end }: Chunk) =>
    x.slice(2, start, end).reshape([kvHeads, group * (end - start), x.shape[3]!])
  const keysOf = (x: Tensor, { keyBegin, keyEnd, keys }: Chunk) =>
    x.sliceBy(1, keyBegin, keyEnd, keys)
  const scores = (q: Tensor, k: Tensor, chunk: Chunk) =>
    chunkScores(rowsOf(q, chunk), keysOf(k, chunk), chunkMask(chunk, layout), {
      scale,
      ...(softcap === undefined ? {} : { softcap }),
    })
  const join = (chunkRows: readonly Tensor[], width: number) =>
    concat(
      parts.map((part, i) => chunkRows[i]!.reshape([kvHeads, group, part.end - part.start, width])),
      2,
    )

  return composite(
    "attention",
    [q, k, v],
    (q, k, v) =>
      join(
        parts.map((part) => scores(q!, k!, part).p.matmul(keysOf(v!, part))),
        headDim,
      ),
    (dO, [q, k, v], o) => {
      const delta = dO.mul(o).sum(-1, { keepDims: true }) // [K, G, T, 1]
      const dOWithDelta = concat([dO, delta.neg()], 3)
      const vWithOne = concat([v!, v!.slice(2, 0, 1).mul(0).add(1)], 2)
      const dq: Tensor[] = []
      let sums: { readonly dk: Tensor; readonly dv: Tensor } | undefined
      for (const each of parts) {
        const inTurn = sums !== undefined && parts.length > chunksAtOnce
        const part = inTurn ? after(each, [dq.at(-1)!, sums!.dk, sums!.dv]) : each
        const { p, capped } = scores(q!, k!, part)
        // A difference of two nearly equal sums: never of rounded factors.
        const dp = rowsOf(dOWithDelta, part).matmul(keysOf(vWithOne, part), exactRows)
        const ds = capped ? dp.mul(p).mul(capped.mul(capped).neg().add(1)) : dp.mul(p)
        const back = (x: Tensor) => x.padBy(1, part.keyBegin, part.keyEnd, tokens)
        const dk = back(ds.matmul(rowsOf(q!, part), { transA: true, alpha: scale }))
        const dv = back(p.matmul(rowsOf(dO, part), { transA: true }))
        dq.push(ds.matmul(keysOf(k!, part), { alpha: scale }))
        sums = sums ? { dk: sums.dk.add(dk), dv: sums.dv.add(dv) } : { dk, dv }
      }
      return [join(dq, headDim), sums!.dk, sums!.dv]
    },
  )
}
