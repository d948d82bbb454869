import { parseConfig } from "../config/parse-config.ts"
import type { Config } from "../config/resolve-config.ts"
import type { ConfigInput } from "../config/schema.ts"
import { InputError } from "../errors.ts"
import { objectiveFromConfig } from "../objectives/index.ts"

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
  quantization: "the model is held as it was loaded",
  output_dir: "a tab writes no run folder",
  overwrite_output_dir: "a tab writes no run folder",
  report_to: "a tab writes no run folder; its events are what advance() returns",
  keep_rows: "a tab writes no run folder",
  engine: "a tab's device is opened beforehand",
  resume: "a tab has no checkpoints to resume from",
}

/** The same of `data`: rows are given beside the settings. */
const DATA_NOT_HERE: Readonly<Record<string, string>> = {
  train: "rows are given beside the settings",
  eval: "held-out rows are given beside the settings",
  eval_split: "held-out rows are given beside the settings",
  benchmarks: "a tab opens no files",
  decontaminate: "a tab opens no files",
  near_duplicates: "rows are taken as they are given",
  on_bad_row: "a wrong row is always named and refused",
}

/**
 * Checks settings against the schema that configs have, and fills in its defaults.
 *
 * @throws InputError that lists everything wrong, a line each
 */
export function tabConfig(settings: TabSettings = {}): Config {
  const { data, ...rest } = settings
  const problems = [...notHere(settings, NOT_HERE), ...notHere(data ?? {}, DATA_NOT_HERE, "data.")]
  if (problems.length > 0) throw new InputError(problems.join("\n"))
  const config = parseConfig({
    save_steps: 0,
    eval_steps: 0,
    ...rest,
    data: { ...data, train: [{ path: "rows" }] },
    model: "tab",
    output_dir: "tab",
  })
  const unable = unableTo(config)
  if (unable.length > 0) throw new InputError(unable.join("\n"))
  return config
}

const notHere = (given: object, table: Readonly<Record<string, string>>, before = "") =>
  Object.keys(given)
    .filter((key) => Object.hasOwn(table, key))
    .map((key) => `${before}${key}: not in a tab; ${table[key]}`)

/** What the schema takes and a tab cannot do. */
function unableTo({ objective, rollout, adapter, data }: Config): string[] {
  const problems: string[] = []
  if (rollout !== null) {
    problems.push(
      `objective: not in a tab; ${objective.name} samples while it trains, which needs a run folder (dftune train)`,
    )
  } else if (objectiveFromConfig(objective).trainsOn !== "targets") {
    problems.push(
      `objective: not in a tab; ${objective.name} needs pairs, labels or rewards, and a tab reads rows of one answer (dftune train)`,
    )
  }
  if (adapter?.modules_to_save?.length) {
    problems.push("adapter.modules_to_save: not in a tab, whose runs share one base")
  }
  if (typeof data.template === "string" && !["auto", "none"].includes(data.template)) {
    problems.push("data.template: not in a tab, which opens no files; auto, none or true")
  }
  return problems
}
