/**
 * The first step of a run whose reference is its own start is at the reference, whatever the rows.
 */
import { InputError } from "../errors.ts"
import type { Precision } from "../runtime/index.ts"
import { type StepResult, scaledSum } from "./forward-backward.ts"
import type { ObjectiveHead } from "./objective-head.ts"

/** Of the known loss. */
const OFF = 1e-3
/**
 * In bfloat16 two passes over the same rows are some hundredths of a nat apart at each token
 * (measured and trained by graphs that round elsewhere), and so the loss is off by more than
 * rounding in float32 makes it. Another model, template or adapter is further away than this, on
 * average.
 */
const APART = 0.1

/**
 * Any other loss than is known there means another template, model or adapter behind the
 * reference's numbers. In bfloat16 the tokens' log-probabilities are compared in its place.
 *
 * @throws InputError when it is not the reference
 */
export function checkReference(
  head: ObjectiveHead,
  { loss, divisor, batch, columns }: StepResult,
  precision: Precision,
): void {
  if (!head.value || !columns) return
  const { logp, ref_logp } = columns.columns
  const there = {
    ...columns,
    columns: { ...columns.columns, ref_logp: logp! },
    scalars: { ...columns.scalars, ...("kl_step" in columns.scalars ? { kl_step: 0 } : {}) },
  }
  const known = scaledSum(head.value(there), batch.microBatches) / divisor
  if (Math.abs(loss - known) <= OFF * Math.max(1, Math.abs(known))) return
  const apart = meanApart(logp!, ref_logp!)
  if (precision === "bf16" && apart <= APART) return
  throw new InputError(
    `reference-mismatch: at the first step the policy is its reference, where the loss is ${known.toPrecision(6)}, but it came out as ${loss.toPrecision(6)}, ` +
      `and the tokens' log-probabilities are ${apart.toPrecision(2)} nats apart on average; ` +
      "the reference's log-probabilities belong to another model, template or adapter. Remove the files reference-*.safetensors beside the prepared rows, and they are measured again",
  )
}

/** Of what is no number it is none, and so no small one. */
const meanApart = (a: Float32Array, b: Float32Array) =>
  a.reduce((sum, value, t) => sum + Math.abs(value - b[t]!), 0) / a.length
