/** Where a reward model's texts end: the token that they are filled up with. */
import type { ForeignModel, ModelConfig } from "../models/index.ts"
import { loadTokenizer } from "../text/index.ts"

/**
 * The tokenizer's pad token, or its end of text where it has none: as TRL's RewardTrainer has it.
 */
export async function padTokenOf(modelFolder: string): Promise<number | null> {
  const { padTokenId, eosTokenId } = await loadTokenizer(modelFolder)
  return padTokenId ?? eosTokenId
}

/** The config with the pad token in it, by which whoever opens the model finds where texts end. */
export function withPadToken<Model extends ModelConfig | ForeignModel>(
  model: Model,
  padTokenId: number | null,
): Model {
  if (padTokenId === null || "isForeign" in model) return model
  return { ...model, json: { ...model.json, pad_token_id: padTokenId } }
}
