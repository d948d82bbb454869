import type { Config, SourceConfig } from "../config/index.ts"
import type { PrepareOptions } from "../data/prepare.ts"
import { PURPOSE_OF } from "../data/purpose.ts"
import type { Objective } from "../objectives/index.ts"

/** How the config has rows read and rendered, with the tokenizer of a model's folder. */
export function rowOptions(
  { data }: Pick<Config, "data">,
  tokenizer: string,
  sources: readonly SourceConfig[],
  { trainsOn }: Pick<Objective, "trainsOn">,
): PrepareOptions {
  return {
    purpose: trainsOn === "rollouts" ? "supervised" : PURPOSE_OF[trainsOn],
    sources,
    tokenizer,
    format: data.format,
    maxLength: data.max_length,
    supervise: data.supervise,
    template: data.template,
    columns: data.columns,
    implicitPrompt: data.implicit_prompt,
    onLongPair: data.on_long_pair,
    ...(sources === data.train ? { leaveOut: data } : {}),
    onBadRow: data.on_bad_row,
  }
}
