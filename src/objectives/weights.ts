import { evaluateAll } from "./evaluate.ts"
import { needs, type Objective, weightOf } from "./objective.ts"

/** What a weight may depend on beside the probability. */
export interface WeightScalars {
  /** 0 content, 1 end of turn, 2 other special or template token. */
  readonly tokenClass: number
  readonly progress: number
}

/**
 * The weights, -d loss / d logp, that an objective gives targets of these probabilities; undefined
 * where they depend on more than that (entropy, a reference, the other tokens of a step).
 */
export function weightsAt(
  { expression }: Pick<Objective, "expression">,
  probabilities: readonly number[],
  { tokenClass, progress }: WeightScalars,
): number[] | undefined {
  const weight = weightOf(expression)
  const given = new Set(["logp", "progress", "token_class"])
  const { inputs, firstPass } = needs(weight)
  if (firstPass || [...inputs].some((name) => !given.has(name))) return undefined
  const columns = {
    logp: Float64Array.from(probabilities, Math.log),
    token_class: tokenClass,
    progress,
  }
  const [weights] = evaluateAll([weight], columns, new Int32Array(probabilities.length))
  return [...weights!]
}
