import { parseConfig } from "../config/parse-config.ts"
import type { Config } from "../config/resolve-config.ts"
import type { ConfigInput } from "../config/schema.ts"
import { InputError } from "../errors.ts"

/** Settings of a run in a tab: the config's keys except those for files and machines. */
export type TabSettings = Partial<
  Omit<ConfigInput, "model" | "output_dir" | "engine" | "data"> & {
    readonly data: Omit<
      ConfigInput["data"],
      "train" | "eval" | "benchmarks" | "eval_split" | "near_duplicates" | "decontaminate"
    >
  }
>

/** Keys of a config that a tab decides by itself, or has no use for. */
const NOT_HERE: Readonly<Record<string, string>> = {
  model: "the model is loaded beforehand",
  model_revision: "the model is loaded beforehand",
  output_dir: "a tab writes no run folder",
  engine: "a tab's device is opened beforehand",
  resume: "a tab has no checkpoints to resume from",
}

/**
 * Checks settings against the schema that configs have, and fills in its defaults.
 *
 * @throws InputError that lists everything wrong, a line each
 */
export function tabConfig(settings: TabSettings = {}): Config {
  const wrong = Object.keys(settings).filter((key) => Object.hasOwn(NOT_HERE, key))
  if (wrong.length > 0) {
    throw new InputError(wrong.map((key) => `${key}: not in a tab; ${NOT_HERE[key]}`).join("\n"))
  }
  const { data, ...rest } = settings
  const config = parseConfig({
    save_steps: 0,
    eval_steps: 0,
    ...rest,
    data: { ...data, train: [{ path: "rows" }] },
    model: "tab",
    output_dir: "tab",
  })
  for (const key of ["near_duplicates", "decontaminate"] as const)
    if (config.data[key] !== null)
      throw new InputError(`data.${key}: not in a tab; its rows are trained as they are given`)
  if (config.rollout === null) return config
  throw new InputError(
    `objective: not in a tab; ${config.objective.name} samples while it trains, which needs a run folder (dftune train)`,
  )
}
