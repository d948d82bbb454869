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
  if (adapter?.init_lora_weights === "pissa") {
    const path = ["adapter"]
    const problem = (message: string) =>
      found.push({ path, at, message: `adapter.init_lora_weights: pissa: ${message}` })
    if (adapter.use_dora) {
      problem("its result is a sum, which magnitudes (use_dora) would scale; leave one of them out")
    }
    if (Math.max(adapter.r, ...Object.values(adapter.rank_pattern)) > 2048) {
      problem("is saved with twice its rank, so r may be 2048 at most")
    }
  }
  const { gradient_checkpointing: asked, recompute } = config
  if (asked !== null && recompute !== (asked ? "always" : "never")) {
    const message = `gradient_checkpointing: ${asked} is recompute: ${asked ? "always" : "never"}, and recompute says ${recompute}; leave one of them out`
    found.push({ path: ["gradient_checkpointing"], at, message })
  }
  const watched = [
    ...(config.load_best_model_at_end ? ["load_best_model_at_end"] : []),
    ...(config.early_stopping_patience === null ? [] : ["early_stopping_patience"]),
  ]
  const { eval: sets, eval_split: split } = config.data
  const measures = sets.length > 0 || split > 0 || config.rollout !== null
  for (const key of measures && config.eval_steps > 0 ? [] : watched) {
    const message = `${key}: needs evaluations on the way; give data.eval or data.eval_split, and eval_steps above 0`
    found.push({ path: [key], at, message })
  }
  return found
}
