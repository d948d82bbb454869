import { resolveModel } from "../formats/hub.ts"
import type { Config } from "../run/config.ts"

/** The folder with a model's tokenizer: the model's own, downloaded when it is a hub id. */
export function tokenizerFolder(config: Config, signal: AbortSignal): Promise<string> {
  return resolveModel(config.model, { revision: config.model_revision, signal })
}
