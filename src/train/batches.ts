/**
 * Where the loop gets its steps from: the seam between the loop and supervised rows, pairs, labels,
 * or rollouts.
 */
import type { RunOrder } from "../data/order.ts"
import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { EventBody } from "../run/events.ts"

/** A sequence of a step, with what the objective is told of it beside its tokens. */
export interface StepRow extends PreparedRow {
  /**
   * By the objective's input (`advantage`, `ref_logp`, `pair_sign`, ...): one number for each
   * supervised token, or one for the whole row. All rows of a step have the same names.
   */
  readonly columns?: Readonly<Record<string, Float32Array | number>>
  /** Of a sequence that is scored: the token at which. */
  readonly scoredAt?: number
  /** A side of a pair: rows 2k and 2k + 1 of a step. */
  readonly paired?: true
}

/** What one optimizer step trains on. */
export interface StepRows {
  readonly rows: readonly StepRow[]
  /** Inputs that are one number for the whole step, beside `progress`, `step` and `steps`. */
  readonly scalars?: Readonly<Record<string, number>>
  /**
   * Each prompt with another row's answer, for KTO's z0, and the sum of ln pi_ref over each
   * answer's tokens where the reference was measured before.
   */
  readonly mismatched?: { readonly rows: readonly StepRow[]; readonly reference: Float32Array }
  /** What happened while the rows came to be (a rollout): told before the step's own events. */
  readonly events?: readonly EventBody[]
  /** There is nothing left to learn: the run is done, and these rows are none. */
  readonly over?: boolean
}

/**
 * The steps of a run, one after the other. The loop asks for each step in order, beginning after
 * the step that it resumes from; whatever a source remembers between steps is its own to save.
 */
export interface BatchSource {
  readonly steps: number
  /**
   * The rows of a step (from 1); undefined when the run was asked to stop before they were whole. A
   * source that gives none makes no step: it is asked again.
   */
  batch(step: number): StepRows | undefined | Promise<StepRows | undefined>
  /** Epochs done after `step` steps. */
  epochAt(step: number): number
}

/** A source with all steps known in advance, readable in any order: prepared rows. */
export interface FixedBatches extends BatchSource {
  batch(step: number): StepRows
  /** Tokens of each sequence of a step, in the order of its rows, without reading them. */
  lengths(step: number): number[]
  /** Rows of the data that a step takes, by index. */
  indices(step: number): readonly number[]
  /** The sequences of a row of the data, with what they bring to the objective. */
  sequences(index: number): StepRow[]
}

type Order = Pick<RunOrder, "steps" | "stepRows" | "epochAt">
type Rows = Pick<Prepared, "sequences" | "sequenceLengths">

/** Prepared rows in the run's order; `columns` says what a row's sequences bring with them. */
function fixedBatches(
  rows: Rows,
  order: Order,
  columns: (sequences: readonly PreparedRow[], index: number) => StepRow[],
): FixedBatches {
  const indices = (step: number) => [...order.stepRows(step - 1)]
  const sequences = (index: number) => columns(rows.sequences(index), index)
  return {
    steps: order.steps,
    batch: (step) => ({ rows: indices(step).flatMap(sequences) }),
    lengths: (step) => indices(step).flatMap((index) => rows.sequenceLengths(index)),
    epochAt: (step) => order.epochAt(step),
    indices,
    sequences,
  }
}

/** Supervised rows. */
export function supervisedBatches(rows: Rows, order: Order): FixedBatches {
  return fixedBatches(rows, order, (sequences) => [...sequences])
}

/** Pairs: the chosen and the rejected answer in turn. */
export function pairBatches(rows: Rows, order: Order): FixedBatches {
  return fixedBatches(rows, order, (sequences) =>
    sequences.map((row, side) => ({
      ...row,
      paired: true,
      columns: { pair_sign: side === 0 ? 1 : -1, position: positions(row) },
    })),
  )
}

/**
 * Pairs of whole texts to score, each at the last token that is no padding: where Transformers'
 * `...ForSequenceClassification` reads its score. A pad token that ends texts is padding too.
 */
export function scoreBatches(
  rows: Rows,
  order: Order,
  { padTokenId }: { readonly padTokenId: number | null },
): FixedBatches {
  return fixedBatches(rows, order, (sequences) =>
    sequences.map((row, side) => ({
      ...row,
      paired: true,
      scoredAt: scoredToken(row.tokenIds, padTokenId),
      columns: { pair_sign: side === 0 ? 1 : -1, margin: row.value },
    })),
  )
}

/** The last token that is not the pad token; the first where all are. */
export function scoredToken(tokenIds: ArrayLike<number>, padTokenId: number | null): number {
  let at = tokenIds.length - 1
  while (at > 0 && tokenIds[at] === padTokenId) at--
  return at
}

/** Answers labelled good or bad, and each prompt with the answer before it in the step. */
export function labelBatches(
  rows: Rows,
  order: Order,
  { maxLength }: { readonly maxLength: number },
): FixedBatches {
  const batches = fixedBatches(rows, order, (sequences) =>
    sequences.map((row) => ({ ...row, columns: { pair_sign: row.value > 0 ? 1 : -1 } })),
  )
  return {
    ...batches,
    batch(step) {
      const { rows: own } = batches.batch(step)
      const reference = new Float32Array(own.length)
      return { rows: own, mismatched: { rows: mismatchedRows(own, maxLength), reference } }
    },
  }
}

/**
 * Prompt i with answer i - 1 of the same step, cyclic: an offset, so that of two and more no prompt
 * has its own (TRL's issue 1911 is a reversal, whose middle does). Cut on the right at `maxLength`.
 */
export function mismatchedRows(rows: readonly StepRow[], maxLength: number): StepRow[] {
  return rows.map((asked, i) => {
    const said = rows.at(i - 1)!
    const prompt = asked.lossMask.indexOf(1)
    const answer = said.lossMask.indexOf(1)
    const join = <A extends Int32Array | Uint8Array>(
      key: "tokenIds" | "lossMask" | "tokenClass",
    ) => {
      const parts = [...asked[key].subarray(0, prompt), ...said[key].subarray(answer)]
      return parts.slice(0, maxLength) as unknown as A
    }
    return {
      ...asked,
      tokenIds: Int32Array.from(join("tokenIds")),
      lossMask: Uint8Array.from(join("lossMask")),
      tokenClass: Uint8Array.from(join("tokenClass")),
      columns: {},
    }
  })
}

/** The place of each supervised token among its sequence's, from 0. */
function positions({ lossMask }: PreparedRow): Float32Array {
  let count = 0
  for (let t = 1; t < lossMask.length; t++) count += lossMask[t]!
  return Float32Array.from({ length: count }, (_, i) => i)
}
