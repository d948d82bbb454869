/** Sources with objectives of their own: SFT for facts and DFT for mathematics in one run. */
import { InputError } from "../errors.ts"
import { where } from "./expression.ts"
import { INPUTS, type Objective } from "./objective.ts"

/**
 * Each token's loss is its own source's. `own` is by the place of the source in `data.train`, from
 * 0; the others have the run's. All are divided as the run's is.
 *
 * @throws InputError for objectives that do not train on targets, or are divided otherwise
 */
export function objectiveBySource(run: Objective, own: ReadonlyMap<number, Objective>): Objective {
  if (own.size === 0) return run
  let { expression } = run
  for (const [place, objective] of own) {
    const at = `data.train[${place}].objective`
    for (const { name, trainsOn } of [run, objective]) {
      if (trainsOn === "targets") continue
      throw new InputError(
        `${at}: ${name} trains on ${trainsOn}; sources of one run can differ in objectives on targets alone (sft, dft, ...)`,
      )
    }
    if (objective.normalization !== run.normalization) {
      throw new InputError(
        `${at}: is divided by ${objective.normalization}, the run by ${run.normalization}; a step has one divisor, so leave normalization out there`,
      )
    }
    expression = where(INPUTS.source.equals(place), objective.expression, expression)
  }
  return { ...run, expression }
}
