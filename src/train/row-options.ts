import type { Config, SourceConfig } from "../config/index.ts"
import { openPrepared, type Prepared, type PreparedData, prepareData } from "../data/index.ts"
import { pictureProcessor } from "../data/pictures/processors.ts"
import type { PrepareOptions } from "../data/prepare.ts"
import { PURPOSE_OF } from "../data/purpose.ts"
import { InputError } from "../errors.ts"
import type { Objective } from "../objectives/index.ts"
import { progressMeter } from "../report/progress.ts"

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

/**
 * How pictures of the rows are read: by engine torch, of a model of vision and language.
 *
 * @throws InputError for what such a model is not trained with
 */
export async function picturesOf(
  config: Config,
  modelFolder: string,
  { name, trainsOn }: Pick<Objective, "name" | "trainsOn">,
): Promise<Pick<PrepareOptions, "pictures" | "imageMaxPixels">> {
  const pictures = config.engine.name === "torch" ? await pictureProcessor(modelFolder) : undefined
  if (pictures === undefined) return {}
  const refused =
    trainsOn !== "targets" && trainsOn !== "pairs" && trainsOn !== "labels"
      ? `objective: ${name} (what it can: answers, pairs and labelled answers)`
      : config.generate_samples
        ? "generate_samples"
        : config.model_tokens.length > 0
          ? "model_tokens"
          : undefined
  if (refused !== undefined) {
    throw new InputError(
      `model: ${config.model} is a model of vision and language (${pictures.modelType}), which is not trained with ${refused}`,
    )
  }
  return { pictures, imageMaxPixels: config.data.image_max_pixels }
}

interface ReadOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: (message: string) => void
}

export async function prepareRows(
  asked: PrepareOptions,
  { signal, onProgress }: ReadOptions,
): Promise<PreparedData> {
  const meter = progressMeter("preparing rows", { unit: "rows" })
  const prepared = await prepareData({
    ...asked,
    ...(signal ? { signal } : {}),
    onProgress: ({ rows, fraction }) =>
      // How many there are is known when all are read; until then from the share of the files'
      // bytes.
      onProgress?.(meter(rows, fraction > 0 ? Math.round(rows / fraction) : 0)),
  })
  const errors = prepared.lints.filter((lint) => lint.severity === "error")
  if (errors.length > 0) {
    throw new InputError(errors.map(({ message, hint }) => `${message}; ${hint}`).join("\n"))
  }
  return prepared
}

/**
 * Texts that the run does not train on, every token of them; undefined where the config names none.
 */
export async function forgettingTexts(
  config: Config,
  tokenizer: string,
  options: ReadOptions,
): Promise<Prepared | undefined> {
  const path = config.forgetting?.texts
  if (!path) return undefined
  const asked = rowOptions(config, tokenizer, [{ path, weight: 1 }], { trainsOn: "targets" })
  const { dir } = await prepareRows({ ...asked, supervise: "all", columns: {} }, options)
  return openPrepared(dir)
}
