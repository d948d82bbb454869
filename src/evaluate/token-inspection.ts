/**
 * What a model makes of every token of a sequence: probability, rank, entropy, what it would rather
 * say.
 */

import { largestIndices } from "../generate/index.ts"
import { packSequences } from "../models/index.ts"
import type { ScoredModel } from "../train/scored-model.ts"

/** Alternatives that are told of each token. */
const ALTERNATIVES = 5
/** Tokens of the entropy over the most likely ones, as objectives take it. */
const TOP = 20

/** Of one token, given those before it. */
export interface InspectedToken {
  /** ln p. */
  readonly logp: number
  /** Tokens that are likelier, and one. */
  readonly rank: number
  /** Of the next-token distribution, nats. */
  readonly entropy: number
  /** Over the renormalised 20 most likely tokens, nats. */
  readonly topkEntropy: number
  /** The most likely tokens, the likeliest first; the token itself may be among them. */
  readonly alternatives: readonly { readonly tokenId: number; readonly logp: number }[]
}

/**
 * Every token after the first, in order; [T - 1]. In float64 from the model's logits.
 *
 * @param alternatives at most 20
 */
export async function inspectTokens(
  { decoder, shape }: Pick<ScoredModel, "decoder" | "shape">,
  tokenIds: readonly number[],
  alternatives = ALTERNATIVES,
): Promise<InspectedToken[]> {
  if (tokenIds.length < 2) return []
  const lossMask = new Uint8Array(tokenIds.length).fill(1, 1)
  const pack = packSequences([{ tokenIds: Int32Array.from(tokenIds), lossMask }])
  const V = shape.vocabSize
  const found: InspectedToken[] = []
  await decoder.eachLogits(pack, (logits, start) => {
    for (let row = 0; (row + 1) * V <= logits.length; row++) {
      const own = logits.subarray(row * V, (row + 1) * V)
      found.push(inspected(own, pack.labels[start + row]!, alternatives))
    }
  })
  return found
}

/** One row of logits, [V], and the token that followed. */
export function inspected(
  logits: Float32Array,
  label: number,
  alternatives = ALTERNATIVES,
): InspectedToken {
  const top = largestIndices(logits, TOP)
  const most = logits[top[0]!]!
  const target = logits[label]!
  let [sum, weighted, rank] = [0, 0, 1]
  for (const z of logits) {
    const e = Math.exp(z - most)
    sum += e
    weighted += e * (z - most)
    if (z > target) rank++
  }
  const logSum = Math.log(sum)
  const logpOf = (id: number) => logits[id]! - most - logSum
  const topSum = top.reduce((total, id) => total + Math.exp(logits[id]! - most), 0)
  return {
    logp: logpOf(label),
    rank,
    entropy: logSum - weighted / sum,
    topkEntropy: top.reduce((total, id) => {
      const q = Math.exp(logits[id]! - most) / topSum
      return q === 0 ? total : total - q * Math.log(q)
    }, 0),
    alternatives: top.slice(0, alternatives).map((tokenId) => ({ tokenId, logp: logpOf(tokenId) })),
  }
}
