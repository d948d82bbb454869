import { evaluateAll } from "./evaluate.ts"
import type { InputName } from "./expression.ts"
import { needs, type Objective, weightOf } from "./objective.ts"

/** Of each of N tokens, by the objective's names; or one number for all. */
export type KnownColumns = Readonly<Partial<Record<InputName, Float64Array | number>>>

/**
 * The weights, -d loss / d logp, that an objective gives these tokens; undefined where they depend
 * on what is not known here (samples, the other tokens of a step).
 */
export function tokenWeights(
  { expression }: Pick<Objective, "expression">,
  columns: KnownColumns,
  count: number,
): Float64Array | undefined {
  const weight = weightOf(expression)
  const { inputs, firstPass } = needs(weight)
  if (firstPass || [...inputs].some((name) => !Object.hasOwn(columns, name))) return undefined
  const [weights] = evaluateAll([weight], columns, new Int32Array(count))
  return weights!
}
