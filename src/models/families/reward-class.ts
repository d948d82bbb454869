/** Transformers' classes of reward models: one score in place of the head. */
import { InputError } from "../../errors.ts"
import { type ConfigKeys, isObject } from "./config-keys.ts"
import { FAMILIES, type ModelType } from "./table.ts"

/** Transformers' class of the family's reward models; undefined where it has none. */
export function rewardArchitecture(type: ModelType): string | undefined {
  const { architecture, rewardModel = architecture.replace("ForCausalLM", CLASS) } = FAMILIES[type]
  return rewardModel ?? undefined
}

const CLASS = "ForSequenceClassification"

/** Whether a config.json is of such a model, of whatever family. */
export const isRewardModel = (architectures: unknown): boolean =>
  Array.isArray(architectures) && architectures.some((name) => String(name).endsWith(CLASS))

/**
 * Classes that a config.json speaks of are labels; a reward model has one.
 *
 * @throws InputError for any other number
 */
export function checkOneLabel({ where, values }: ConfigKeys): void {
  const { id2label, num_labels } = values
  // Transformers' own default is two
  const labels = isObject(id2label) ? Object.keys(id2label).length : (num_labels ?? 2)
  if (labels === 1) return
  throw new InputError(
    `${where}: is a classifier of ${String(labels)} labels, where a reward model has one ("id2label": {"0": "LABEL_0"})`,
  )
}
