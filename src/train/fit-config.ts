import type { Config } from "../config/index.ts"
import { configFrom, loadConfig } from "../config/load-config.ts"

/** Steps that are told of where no config says others. */
const FIT_DEFAULTS = {
  data: { train: "rows.jsonl", max_length: 512 },
  batch_size: 8,
}

export interface FitConfigOptions {
  /** A config file whose settings are taken; steps of 8 rows of 512 tokens without. */
  readonly config?: string | undefined
  /** `key.path=value`, as `loadConfig` has them. */
  readonly set?: readonly string[]
}

/**
 * A config for `fit` of a model that need not be here yet.
 *
 * @throws InputError for a config or setting that is wrong
 */
export async function fitConfig(
  model: string,
  { config: path, set: own = [] }: FitConfigOptions = {},
): Promise<Config> {
  const set = [...own, `model=${JSON.stringify(model)}`]
  if (path !== undefined) return loadConfig(path, { set, fixedOutput: true })
  const source = { value: FIT_DEFAULTS, locate: () => "" }
  return configFrom(source, { set, folder: ".", fixedOutput: true })
}
