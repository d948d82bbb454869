import type { Config } from "../config/index.ts"
import { findModel } from "../models/files/index.ts"

/** The folder with a model's tokenizer; of a hub id the small files alone are downloaded. */
export function tokenizerFolder(config: Config, signal: AbortSignal): Promise<string> {
  return findModel(config.model, { revision: config.model_revision, withWeights: false, signal })
}
