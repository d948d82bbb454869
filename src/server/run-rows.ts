/** The rows that a run trains and is measured on, as it has them: rendered, masked, cut. */
import { type Config, loadConfig } from "../config/index.ts"
import { openPrepared, type Prepared, prepareData } from "../data/index.ts"
import { isObject } from "../formats/json.ts"
import { modelFolders } from "../generate/index.ts"
import { ownPlace } from "../host/own-place.ts"
import { findModel } from "../models/files/index.ts"
import { type Objective, objectiveFromConfig } from "../objectives/index.ts"
import { RUN_FILES } from "../run/run-files.ts"
import { loadTokenizer, type Tokenizer } from "../text/index.ts"
import { picturesOf, rowOptions } from "../train/row-options.ts"
import { refusal } from "./refusal.ts"
import type { NamedRun } from "./run-folders.ts"
import { lastObjects } from "./run-lines.ts"

/** Of the samples of a run the last are told. */
export const SAMPLES_BYTES = 2 ** 22

/** A run as its rows and tokens are looked at. */
export interface LookedRun {
  readonly run: NamedRun
  readonly config: Config
  readonly objective: Objective
  readonly textFolder: string
  readonly tokenizer: Tokenizer
}

export interface LookedRow {
  /** `file:line`, or where a sample stands. */
  readonly place: string
  readonly tokenIds: readonly number[]
  readonly lossMask: readonly number[]
  readonly tokenClass: readonly number[]
}

/** @throws InputError where the run's config or its model's tokenizer cannot be read */
export async function lookedRun(run: NamedRun): Promise<LookedRun> {
  // nothing that it names is run: only its rows are read
  const config = await loadConfig(ownPlace(run.path, RUN_FILES.config), {
    approve: async () => true,
  })
  const objective = objectiveFromConfig(config.objective)
  const textFolder = await textFolderOf(run, config)
  return { run, config, objective, textFolder, tokenizer: await loadTokenizer(textFolder) }
}

/** What it saved has the tokens that it added; before, its base has them. */
async function textFolderOf(
  { path }: NamedRun,
  { model, model_revision }: Config,
): Promise<string> {
  const saved = await modelFolders(path, { withBaseWeights: false }).catch(() => undefined)
  return saved?.textFolder ?? findModel(model, { revision: model_revision, withWeights: false })
}

/** `train`, `eval 0`, `eval 1`, ... */
export function rowSets({ data }: Config): string[] {
  return ["train", ...data.eval.map((_, i) => `eval ${i}`)]
}

/**
 * The prepared rows of a set; the caller closes them.
 *
 * @throws InputError as preparing rows does
 */
export async function preparedRows(
  { config, objective, textFolder }: LookedRun,
  set: string,
): Promise<Prepared> {
  const evaluated = /^eval (\d+)$/.exec(set)?.[1]
  const source = evaluated === undefined ? undefined : config.data.eval[Number(evaluated)]
  if (set !== "train" && source === undefined) {
    throw refusal(404, `set: expected one of ${rowSets(config).join(", ")}, got "${set}"`)
  }
  const sources = source === undefined ? config.data.train : [source]
  const { dir } = await prepareData({
    ...rowOptions(config, textFolder, sources, objective),
    ...(await picturesOf(config, textFolder, objective)),
  })
  return openPrepared(dir)
}

/** The sequences of a row: one, or the chosen and the rejected one; a sample has one. */
export async function lookedRows(
  looked: LookedRun,
  { set, index }: { readonly set: string; readonly index: number },
): Promise<LookedRow[]> {
  if (set === "samples") return [sampleRow(looked, index)]
  const rows = await preparedRows(looked, set)
  try {
    if (index >= rows.rows) throw refusal(404, `index: the set has ${rows.rows} rows`)
    return rows.sequences(index).map(({ tokenIds, lossMask, tokenClass }) => ({
      place: rows.place(index),
      tokenIds: [...tokenIds],
      lossMask: [...lossMask],
      tokenClass: [...tokenClass],
    }))
  } finally {
    rows.close()
  }
}

/** Samples are kept as texts: as their tokens were told, where the tokenizer knows those texts. */
function sampleRow({ run, tokenizer }: LookedRun, index: number): LookedRow {
  const all = lastObjects(ownPlace(run.path, RUN_FILES.samples), SAMPLES_BYTES)
  const sample = all[index]
  if (!isObject(sample)) throw refusal(404, `index: there are ${all.length} samples`)
  const { prompt, completion, tokens, step } = sample
  const encode = (text: unknown) =>
    tokenizer.encode(typeof text === "string" ? text : "", { addSpecialTokens: false })
  const before = encode(prompt)
  // with the token that ended it, which is no part of the completion
  const after = encode(Array.isArray(tokens) ? tokens.join("") : completion)
  const tokenIds = [...before, ...after]
  return {
    place: `sample ${index + 1}, made at step ${step}`,
    tokenIds,
    lossMask: tokenIds.map((_, i) => (i < before.length || i === 0 ? 0 : 1)),
    tokenClass: tokenIds.map(() => 0),
  }
}

/** A row's tokens as its page shows them; what is predicted begins at the second token. */
export interface ToldRow {
  readonly place: string
  readonly tokens: readonly string[]
  readonly mask: readonly number[]
  readonly token_class: readonly number[]
}

export const toldRow = ({ tokenizer }: LookedRun, row: LookedRow): ToldRow => ({
  place: row.place,
  tokens: row.tokenIds.map((id) => tokenizer.tokenText(id)),
  mask: row.lossMask,
  token_class: row.tokenClass,
})
