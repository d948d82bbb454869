import type { ConfigProblem } from "./issues.ts"
import type { Config } from "./resolve-config.ts"

/** What is wrong between settings of the training itself. */
export function trainingProblems(config: Config): ConfigProblem[] {
  const { adapter, freeze } = config
  const found: ConfigProblem[] = []
  const at = "value" as const
  if (adapter !== null && freeze.length > 0) {
    const message =
      "is for a full fine-tune; under an adapter the base is frozen, and layers_to_transform and exclude_modules leave modules out"
    found.push({ path: ["freeze"], at, message: `freeze: ${message}` })
  }
  return found
}
