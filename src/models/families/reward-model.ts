import { InputError } from "../../errors.ts"
import type { ModelConfig } from "./model-config.ts"
import { rewardArchitecture } from "./reward-class.ts"
import { MODEL_TYPES } from "./table.ts"

/**
 * The config of a reward model that begins from a language model: its head is left out, and the
 * score is new.
 *
 * @throws InputError for a family of which Transformers has no reward models
 */
export function asRewardModel(config: ModelConfig, where: string): ModelConfig {
  const { modelType, json, shape } = config
  const architecture = rewardArchitecture(modelType)
  if (architecture === undefined) {
    const able = MODEL_TYPES.filter(rewardArchitecture)
    throw new InputError(
      `${where}: objective reward needs a family of which Transformers has a class for scores (${able.join(", ")}), got ${modelType}`,
    )
  }
  return {
    ...config,
    shape: { ...shape, tieWordEmbeddings: false, scores: true },
    json: {
      ...json,
      architectures: [architecture],
      id2label: { 0: "LABEL_0" },
      label2id: { LABEL_0: 0 },
    },
    hasNewScore: true,
  }
}
