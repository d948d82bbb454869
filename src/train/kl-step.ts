import type { Decoder } from "../models/index.ts"
import type { StepRows } from "./batches.ts"
import { type MeasureOptions, sequenceLogprobs, sums } from "./sequence-logprobs.ts"

/**
 * KTO's z0 (arXiv 2402.01306): how far the policy has gone from its reference on answers to other
 * prompts, a mean over the step, at least 0. A step of one row has no other prompt: 0.
 */
export async function klStep(
  decoder: Pick<Decoder, "evaluate">,
  { rows, reference }: NonNullable<StepRows["mismatched"]>,
  options: MeasureOptions,
): Promise<number> {
  if (rows.length < 2) return 0
  const own = sums(await sequenceLogprobs(decoder, rows, options))
  const apart = own.reduce((sum, logp, i) => sum + logp - reference[i]!, 0)
  return Math.max(0, apart / rows.length)
}
