/** A reward model that is open: texts in, a score each out. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { renderOptionsOf } from "../data/batch.ts"
import { readLayout } from "../data/index.ts"
import { renderExample } from "../data/render.ts"
import { type Columns, readPrompt } from "../data/rows/index.ts"
import { InputError } from "../errors.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { modelFolders } from "../generate/index.ts"
import { isRewardModel } from "../models/families/reward-class.ts"
import { readAdapterConfig, readModelConfig } from "../models/files/index.ts"
import { weightsHash } from "../models/files/weights-hash.ts"
import { packSequences } from "../models/index.ts"
import type { RewardSample, Scorer } from "../rewards/reward.ts"
import { scoredToken } from "./batches.ts"
import { SCORES } from "./objective-head.ts"
import { padTokenOf } from "./pad-token.ts"
import { openScoredModel, type ScoredModelOptions } from "./scored-model.ts"
import { splitRows } from "./split-rows.ts"

/** Tokens computed at once. */
const PACK_TOKENS = 1024

export interface RewardModel {
  readonly textFolder: string
  /** Where its texts end. */
  readonly padTokenId: number | null
  /** What products round to. */
  readonly dtype: string
  /** Of whole texts, in their order. */
  score(texts: readonly ArrayLike<number>[], signal?: AbortSignal): Promise<Float64Array>
  release(): Promise<void>
}

/**
 * Opens a folder, a run or a hub id.
 *
 * @throws InputError for what is no reward model
 */
export async function openRewardModel(
  path: string,
  options: Omit<ScoredModelOptions, "scores"> = {},
): Promise<RewardModel> {
  const { isAdapter } = await checkRewardModel(path)
  const model = await openScoredModel(path, { ...options, scores: true })
  const { decoder, textFolder, folder, dtype } = model
  const padTokenId = isAdapter ? await padTokenOf(textFolder) : await ownPadToken(folder)
  return {
    textFolder,
    padTokenId,
    dtype,
    async score(texts, signal) {
      const scores = new Float64Array(texts.length)
      const lengths = texts.map(({ length }) => length)
      for (const bin of splitRows(lengths, { capacity: PACK_TOKENS, packing: true })) {
        signal?.throwIfAborted()
        const pack = packSequences(
          bin.map((i) => ({
            tokenIds: Int32Array.from(texts[i]!),
            lossMask: new Uint8Array(lengths[i]!),
            scoredAt: scoredToken(texts[i]!, padTokenId),
          })),
        )
        const { score } = await decoder.evaluate(pack, SCORES)
        for (const [place, i] of bin.entries()) scores[i] = score![place]!
      }
      return scores
    },
    release: () => model.release(),
  }
}

/**
 * Whole models say in their config where texts end; adapters are trained by the tokenizer's rule.
 */
async function ownPadToken(folder: string): Promise<number | null> {
  const { json } = await readModelConfig(folder, { scores: true })
  return typeof json.pad_token_id === "number" ? json.pad_token_id : padTokenOf(folder)
}

/** Whether a model, an adapter or a run is a reward model's, by what its config says. */
export async function saysScores(path: string): Promise<boolean> {
  return (await foundModel(path)).scores
}

async function foundModel(path: string) {
  const { folder, base } = await modelFolders(path, { withBaseWeights: false })
  const isAdapter = base !== null
  if (isAdapter) return { folder, isAdapter, scores: (await readAdapterConfig(folder)).scores }
  const file = join(folder, "config.json")
  const config = existsSync(file) ? await readJsonObject(file) : {}
  return { folder, isAdapter, scores: isRewardModel(config.architectures) }
}

/** @throws InputError for a language model, whose score would be made up */
async function checkRewardModel(path: string) {
  const found = await foundModel(path)
  if (found.scores) return found
  throw new InputError(
    `${path}: is a language model, where a reward model is expected (objective: reward trains one)`,
  )
}

/** @throws InputError for what is no reward model */
export const rewardModelHash = async (path: string): Promise<string> =>
  weightsHash((await checkRewardModel(path)).folder)

export interface ModelRewardOptions extends ScoredModelOptions {
  /** Of the prompts' rows. */
  readonly columns?: Columns | undefined
}

/**
 * A reward of samples: the score of the prompt with the sample, as the reward model's own rows were
 * laid out.
 */
export function modelReward(path: string, options: ModelRewardOptions): Scorer {
  let opened: ReturnType<typeof openRenderer> | undefined
  return {
    async score(samples, signal) {
      opened ??= openRenderer(path, options)
      const { model, render } = await opened
      return [...(await model.score(samples.map(render), signal))]
    },
    async close() {
      if (opened) await (await opened).model.release()
    },
  }
}

async function openRenderer(path: string, { columns = {}, ...options }: ModelRewardOptions) {
  const model = await openRewardModel(path, options)
  const { plainTexts } = await readLayout(model.textFolder)
  const rendering = await renderOptionsOf({
    ...{ tokenizer: model.textFolder, templateFile: null, plainTexts, columns },
    ...{ purpose: "supervised", format: "auto", implicitPrompt: false, onLongPair: "truncate" },
    ...{ supervise: "completions", maxLength: Number.MAX_SAFE_INTEGER, day: null, pictures: null },
  } as const)
  const render = ({ row, completion, finish_reason, where }: RewardSample): readonly number[] => {
    const asked = readPrompt(row, { where, columns })
    const sampled = { tokenIds: null, cutOff: finish_reason === "length" }
    const example = { kind: "completion", ...asked, completion, sampled } as const
    return renderExample(example, rendering, where)[0]!.tokenIds
  }
  return { model, render }
}
