/** What both engines say of a plan: the model, the objective, the rows and the steps. */
import { shortCount } from "../report/units.ts"
import type { DataPlan } from "../train/plan.ts"

export function dataLines({
  config,
  model,
  objective,
  order,
  rows,
}: DataPlan): (readonly [name: string, text: string])[] {
  const { manifest } = rows
  const counts = [
    shortCount(manifest.rows),
    `${shortCount(manifest.tokens)} tokens`,
    `${shortCount(manifest.supervised_tokens)} supervised`,
  ]
  const batch = Math.min(config.batch_size, order.rows)
  return [
    ["model", `${config.model} (${model.modelType}, ${model.shape.numHiddenLayers} layers)`],
    ["engine", config.engine.name],
    ["objective", objective.name],
    ["rows", counts.join(", ")],
    ["steps", `${order.steps} of ${batch} rows`],
    ["output", config.output_dir],
  ]
}
