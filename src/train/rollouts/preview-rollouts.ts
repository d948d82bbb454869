/** What a run that samples would ask, before a weight is read. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../../config/index.ts"
import type { PreviewExample } from "../../data/preview-rows.ts"
import type { DataPrompt } from "../../data/prompts.ts"
import { readModelConfig } from "../../models/files/index.ts"
import { objectiveFromConfig } from "../../objectives/index.ts"
import { rewardLabels } from "../../rewards/index.ts"
import type { Tokenizer } from "../../text/index.ts"
import { rowOptions } from "../row-options.ts"
import {
  checkPrompts,
  needsDemonstrations,
  promptReader,
  rolloutSettings,
} from "./plan-rollouts.ts"
import { sampledRow, type TokenMarks } from "./rollout.ts"

export interface PreviewRolloutsOptions {
  /** The model's folder; its weights are not read. */
  readonly modelFolder: string
  /** The eval prompts, not those that are trained on. */
  readonly isEval: boolean
  /** Prompts handed to `show`. */
  readonly examples: number
  readonly show: (example: PreviewExample) => void | Promise<void>
  readonly signal?: AbortSignal
}

/** How a rollout of the run is put together. */
export interface RolloutLayout {
  /** Of a rollout. */
  readonly prompts: number
  readonly num_generations: number
  readonly sequences: number
  readonly max_new_tokens: number
  /** What ends a sample: tokens and texts. */
  readonly stops: readonly string[]
  readonly temperature: number
  /** Each with its weight. */
  readonly rewards: readonly (readonly [label: string, weight: number])[]
  readonly batch_size: number
  /** Updates that a rollout makes. */
  readonly steps: number
  /** Prompts whose demonstration stands beside their samples. */
  readonly demonstrations: number
  /** Samples of a prompt that go on from the beginning of its demonstration. */
  readonly prefixed: number
}

export interface RolloutPreview {
  /** All there are. */
  readonly prompts: number
  /** Of the shortest, the mean and the longest prompt. */
  readonly tokens: { readonly min: number; readonly mean: number; readonly max: number }
  readonly layout: RolloutLayout
  readonly warnings: readonly { code: string; message: string; hint: string }[]
}

/**
 * Tokenises the prompts as the run would. A demonstration stands behind its prompt as it is
 * trained; of samples there is nothing to show yet.
 *
 * @throws InputError as the run would before it samples
 */
export async function previewRollouts(
  config: Config,
  { modelFolder, isEval, examples, show, signal }: PreviewRolloutsOptions,
): Promise<RolloutPreview> {
  const objective = objectiveFromConfig(config.objective)
  const rollout = config.rollout!
  const { tokenizer, stopIds, read } = await promptReader(
    {
      config,
      modelFolder,
      rowsFor: (sources) => rowOptions(config, modelFolder, sources, objective),
    },
    signal,
  )
  const sources = isEval ? config.data.eval : config.data.train
  const data = await read(sources, !isEval && needsDemonstrations(config))
  const { prompts } = data
  if (existsSync(join(modelFolder, "config.json"))) {
    const { shape } = await readModelConfig(modelFolder)
    const context = shape.maxPositionEmbeddings
    const limits = { context, vocabSize: shape.vocabSize, max_new_tokens: rollout.max_new_tokens }
    checkPrompts(data, limits, tokenizer)
  }
  const marks = { stopIds, specialIds: tokenizer.specialTokenIds, maskTruncated: false }
  for (const prompt of prompts.slice(0, examples)) {
    signal?.throwIfAborted()
    await show(exampleOf(prompt, tokenizer, marks))
  }
  const { promptsPerRollout, num_generations, num_iterations, max_new_tokens, temperature } =
    rolloutSettings(config, objective)
  const sequences = promptsPerRollout * num_generations
  const lengths = prompts.map(({ tokenIds }) => tokenIds.length)
  const labels = rewardLabels(rollout.rewards)
  return {
    prompts: prompts.length,
    tokens: {
      min: lengths.reduce((least, length) => Math.min(least, length)),
      mean: lengths.reduce((sum, length) => sum + length, 0) / lengths.length,
      max: lengths.reduce((most, length) => Math.max(most, length)),
    },
    layout: {
      prompts: promptsPerRollout,
      ...{ num_generations, sequences, max_new_tokens, temperature },
      stops: [...[...stopIds].map((id) => tokenizer.tokenText(id)), ...rollout.stop],
      rewards: rollout.rewards.map(({ weight }, i) => [labels[i]!, weight] as const),
      batch_size: config.batch_size,
      steps: (num_iterations * sequences) / config.batch_size,
      demonstrations: rollout.demonstrations > 0 && !isEval ? prompts.length : 0,
      prefixed: rollout.prefix?.samples ?? 0,
    },
    warnings: data.warnings,
  }
}

function exampleOf(prompt: DataPrompt, tokenizer: Tokenizer, marks: TokenMarks): PreviewExample {
  // What only a teacher is shown is not trained.
  const shown = prompt.shown ? [] : [...(prompt.demonstration ?? [])]
  const { tokenIds, lossMask, tokenClass } = sampledRow(
    prompt,
    { tokenIds: shown, finishReason: "stop" },
    marks,
  )
  const ids = [...tokenIds]
  return {
    source: prompt.where,
    text: tokenizer.decode(ids),
    token_ids: ids,
    tokens: ids.map((id) => tokenizer.tokenText(id)),
    loss_mask: [...lossMask],
    token_class: [...tokenClass],
    warnings: [],
  }
}
