import { InputError } from "../errors.ts"
import { trainsOnOf } from "../objectives/index.ts"
import type { Config } from "./resolve-config.ts"

/**
 * For what looks at the probabilities of tokens: a reward model has none.
 *
 * @throws InputError for a run that trains one
 */
export function refuseScores({ objective }: Config, verb: string): void {
  if (trainsOnOf(objective) !== "scores") return
  throw new InputError(
    `objective ${objective.name} trains a reward model, which predicts no token, and ${verb} looks at probabilities of tokens; dftune train --dry-run reads the pairs and plans the run`,
  )
}
