/**
 * A rollout: samples of some prompts with their rewards, and what the policy said of them when it
 * made them.
 */
import type { PreparedRow } from "../../data/prepared.ts"
import type { DataPrompt } from "../../data/prompts.ts"
import type { Score } from "../../rewards/index.ts"
import type { StepRow } from "../batches.ts"

/** A sample of a rollout, before it is measured. */
export interface RolloutSample {
  /** Index of its prompt in the data. */
  readonly prompt: number
  /** Of its prompt's samples, all with the same number here. */
  readonly group: number
  readonly sampleIndex: number
  readonly attempt: number
  readonly completion: string
  /** Exactly what was sampled, the token that ended it with it. */
  readonly tokenIds: readonly number[]
  /** Of each, as the sampler had it, at the rollout's temperature. */
  readonly samplingLogp: Float32Array
  readonly finishReason: string
  readonly reward: Score
  readonly rewards: Readonly<Record<string, Score>>
  /** A demonstration beside the samples of its prompt: nothing of it was sampled. */
  readonly expert?: true
  /** How many tokens of it are the beginning of a demonstration, before what was sampled. */
  readonly prefix?: number
  /** Drawn at another temperature, because no first sample of its prompt was right. */
  readonly explored?: true
  /** Of several turns: from where to where its tokens are the environment's. */
  readonly context?: readonly (readonly [start: number, end: number])[]
}

/** Its tokens that were sampled, or shown as an answer: those that have a log-probability. */
export function ownTokens({ tokenIds, context = [] }: Pick<RolloutSample, "tokenIds" | "context">) {
  return tokenIds.filter((_, t) => !context.some(([start, end]) => start <= t && t < end))
}

/** A sample as it is trained. */
export interface RolloutRow extends RolloutSample {
  readonly advantage: number
  /** Of each sampled token, under the policy before the first update of the rollout. */
  readonly oldLogp: Float32Array
  /** Under the reference, where there is one. */
  readonly refLogp: Float32Array | undefined
  /** Where there is a critic, of each token; `advantage` is then their mean. */
  readonly advantages?: Float32Array
  /** What the value head said before the first update, and what it is to say. */
  readonly oldValue?: Float32Array
  readonly valueTarget?: Float32Array
  /** Of a sample that is kept to be trained once more: updates done when it was sampled. */
  readonly policyStep?: number
}

export interface Rollout {
  /** From 0. */
  readonly number: number
  /** The optimizer step (from 1) that trains on it first. */
  readonly firstStep: number
  /** Groups one after the other. */
  readonly rows: readonly RolloutRow[]
  /** Samples of earlier rollouts, one by one: their groups are no more. */
  readonly replayed?: true
}

/** How a sample's tokens are marked. */
export interface TokenMarks {
  readonly stopIds: ReadonlySet<number>
  readonly specialIds: ReadonlySet<number>
  /** Samples cut at the limit are not trained. */
  readonly maskTruncated: boolean
}

type Sampled = Pick<RolloutSample, "tokenIds" | "finishReason" | "context">

/**
 * A prompt's ids and the sampled ones as they are: what was sampled is trained, and nothing else.
 */
export function sampledRow(
  { tokenIds: prompt, where }: DataPrompt,
  { tokenIds: sampled, finishReason, context = [] }: Sampled,
  { stopIds, specialIds, maskTruncated }: TokenMarks,
): PreparedRow {
  const length = prompt.length + sampled.length
  const tokenIds = new Int32Array(length)
  tokenIds.set(prompt)
  tokenIds.set(sampled, prompt.length)
  const isTrained = !(maskTruncated && finishReason === "length")
  const lossMask = new Uint8Array(length)
  if (isTrained) {
    lossMask.fill(1, prompt.length)
    for (const [start, end] of context) lossMask.fill(0, prompt.length + start, prompt.length + end)
  }
  const tokenClass = new Uint8Array(length)
  for (let t = prompt.length; t < length; t++) {
    const id = tokenIds[t]!
    tokenClass[t] = stopIds.has(id) ? 1 : specialIds.has(id) ? 2 : 0
  }
  const colon = where.lastIndexOf(":")
  const [source, line] = [where.slice(0, colon), Number(where.slice(colon + 1))]
  return { tokenIds, lossMask, tokenClass, source, line, weight: 1, value: 0 }
}

/** The same with what the objective is told of its tokens. */
export function trainedRow(
  prompt: DataPrompt,
  row: RolloutRow,
  marks: TokenMarks,
  { trustsSampler = false }: { readonly trustsSampler?: boolean } = {},
): StepRow {
  const prepared = sampledRow(prompt, row, marks)
  const isTrained = prepared.lossMask.includes(1)
  const none = new Float32Array(0)
  return {
    ...prepared,
    columns: {
      advantage: isTrained && row.advantages ? row.advantages : row.advantage,
      reward: row.reward ?? 0,
      expert: isTrained ? expertTokens(row) : 0,
      old_logp: isTrained ? row.oldLogp : none,
      // An importance weight of the sampler that is trained is 1 to the bit.
      sampling_logp: !isTrained ? none : trustsSampler ? row.oldLogp : row.samplingLogp,
      ...(row.refLogp ? { ref_logp: isTrained ? row.refLogp : none } : {}),
      ...criticColumns(row, isTrained),
    },
  }
}

function criticColumns({ oldValue, valueTarget }: RolloutRow, isTrained: boolean) {
  if (!oldValue || !valueTarget) return {}
  const none = new Float32Array(0)
  return {
    old_value: isTrained ? oldValue : none,
    value_target: isTrained ? valueTarget : none,
  }
}

/** 1 for tokens of a demonstration: all of a row, none, or its beginning. */
function expertTokens({ expert, prefix, tokenIds }: RolloutRow): number | Float32Array {
  if (expert || prefix === undefined) return expert ? 1 : 0
  return new Float32Array(tokenIds.length).fill(1, 0, prefix)
}
