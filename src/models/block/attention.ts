import { composite, concat, constant, range, type Tensor } from "../../graph/index.ts"

/** Tokens of a pack whose queries are computed at once; scores of one chunk stay in cache. */
export const QUERY_CHUNK = 128

/** Which keys each token may see, in a pack of T tokens. */
export interface PackLayout {
  /** int64 [T]: which sequence a token belongs to, growing along the pack. */
  readonly segments: Tensor
  /** int64 [T / QUERY_CHUNK]: for each chunk of queries, the first key any of them may see. */
  readonly keyBegins: Tensor
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

/** 0 where the query may see the key (same sequence, not later), else -inf: [Tc, keys]. */
function chunkMask({ start, end, keyBegin, keyEnd, keys }: Chunk, segments: Tensor): Tensor {
  const tokens = segments.shape[0] as number
  const rows = end - start
  const ofQueries = (x: Tensor) => x.slice(0, start, end).reshape([rows, 1])
  const ofKeys = (x: Tensor) => x.sliceBy(0, keyBegin, keyEnd, keys)
  const position = range(tokens)
  const visible = ofKeys(position)
    .lessOrEqual(ofQueries(position))
    .and(ofKeys(segments).equal(ofQueries(segments)))
  return visible.where(0, Number.NEGATIVE_INFINITY)
}

/** Softmax of the scaled and masked scores of one chunk: q [K, G Tc, D], k [K, keys, D]. */
function chunkProbabilities(q: Tensor, k: Tensor, mask: Tensor, scale: number): Tensor {
  const [kvHeads, rows] = q.shape as [number, number]
  const [chunk, keys] = mask.shape as [number, string]
  const group = rows / chunk
  return q
    .matmul(k, { transB: true, alpha: scale }) // [K, G Tc, keys]
    .reshape([kvHeads, group, chunk, keys])
    .add(mask)
    .softmax()
    .reshape([kvHeads, rows, keys])
}

/**
 * Causal attention inside the sequences of a pack, grouped queries.
 *
 *     o = softmax(scale q k^T + mask) v
 *
 * q [K, G, T, D], k and v [K, T, D] -> [K, G, T, D]. Queries go chunk by chunk, each against its own
 * range of keys only, so neither the future nor another sequence far away costs anything. The
 * gradient is written by hand (FlashAttention, arXiv 2205.14135, section B.2):
 *
 *     dv = p^T do,  ds = p (do v^T - rowsum(do o)),  dq = scale ds k,  dk = scale ds^T q
 *
 * with the subtraction inside the product, as one more column.
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, layout: PackLayout): Tensor {
  const [kvHeads, group, tokens, headDim] = q.shape as [number, number, number, number]
  const scale = 1 / Math.sqrt(headDim)
  const parts = chunks(tokens, layout)

  const rowsOf = (x: Tensor, { start, end }: Chunk) =>
    x.slice(2, start, end).reshape([kvHeads, group * (end - start), x.shape[3]!])
  const keysOf = (x: Tensor, { keyBegin, keyEnd, keys }: Chunk) =>
    x.sliceBy(1, keyBegin, keyEnd, keys)
  const probabilities = (q: Tensor, k: Tensor, chunk: Chunk) =>
    chunkProbabilities(rowsOf(q, chunk), keysOf(k, chunk), chunkMask(chunk, layout.segments), scale)
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
        parts.map((part) => probabilities(q!, k!, part).matmul(keysOf(v!, part))),
        headDim,
      ),
    (dO, [q, k, v], o) => {
      const delta = dO.mul(o).sum(-1, { keepDims: true }) // [K, G, T, 1]
      const dOWithDelta = concat([dO, delta.neg()], 3)
      const vWithOne = concat([v!, v!.slice(2, 0, 1).mul(0).add(1)], 2)
      const perChunk = parts.map((part) => {
        const p = probabilities(q!, k!, part)
        const ds = rowsOf(dOWithDelta, part).matmul(keysOf(vWithOne, part), { transB: true }).mul(p)
        const back = (x: Tensor) => x.padBy(1, part.keyBegin, part.keyEnd, tokens)
        return {
          dq: ds.matmul(keysOf(k!, part), { alpha: scale }),
          dk: back(ds.matmul(rowsOf(q!, part), { transA: true, alpha: scale })),
          dv: back(p.matmul(rowsOf(dO, part), { transA: true })),
        }
      })
      const total = (key: "dk" | "dv") =>
        perChunk.map((part) => part[key]).reduce((sum, x) => sum.add(x))
      return [
        join(
          perChunk.map((part) => part.dq),
          headDim,
        ),
        total("dk"),
        total("dv"),
      ]
    },
  )
}
