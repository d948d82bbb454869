/** What `dftune preview` shows: the rows as tokens, before anything is trained. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/index.ts"
import { type PreviewExample, type PreviewSummary, previewData } from "../data/preview-rows.ts"
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { refuseLinkOut } from "../formats/link-out.ts"
import { findModel } from "../models/files/index.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import { previewRollouts, type RolloutPreview } from "./rollouts/preview-rollouts.ts"
import { picturesOf, rowOptions } from "./row-options.ts"

/** Examples that are shown where nobody says how many. */
export const SHOWN_ROWS = 8
/** Rows looked at for lints when not all are shown. */
const SCANNED_ROWS = 2000

export interface PreviewOptions {
  /** Rows shown; 8 if left out, Infinity: all. */
  readonly rows?: number
  /** The eval rows, not the training rows. */
  readonly isEval?: boolean
  readonly signal?: AbortSignal
  /** Gets the examples one by one; they are then not held. A promise is waited for. */
  readonly onExample?: (example: PreviewExample) => void | Promise<void>
}

/** Of a run that samples its answers there are prompts, else rows. */
export type Preview = {
  /** As `preview --json` prints them; none with `onExample`. */
  readonly examples: readonly PreviewExample[]
} & (
  | { readonly rows: PreviewSummary; readonly rollouts?: never }
  | { readonly rollouts: RolloutPreview; readonly rows?: never }
)

/**
 * Tokenises the first rows as training would, and looks at more of them for lints. A lint of
 * severity `error` says that a run would not start.
 *
 * @throws InputError for what is wrong with the model's tokenizer or a row
 */
export async function preview(
  config: Config,
  { rows: count = SHOWN_ROWS, isEval = false, signal, onExample }: PreviewOptions = {},
): Promise<Preview> {
  const sources = isEval ? config.data.eval : config.data.train
  if (sources.length === 0) throw new InputError("data.eval names no rows")
  const examples: PreviewExample[] = []
  const show = onExample ?? ((example: PreviewExample) => void examples.push(example))
  const looked = { examples: count, show, ...(signal ? { signal } : {}) }
  const { model, model_revision: revision } = config
  const own = signal ? { signal } : {}
  // of a hub id the small files alone are downloaded
  const modelFolder = await findModel(model, { revision, withWeights: false, ...own })
  if (config.rollout) {
    const rollouts = await previewRollouts(config, { modelFolder, isEval, ...looked })
    return { examples, rollouts }
  }
  const objective = objectiveFromConfig(config.objective)
  const rows = await previewData({
    ...rowOptions(config, modelFolder, sources, objective),
    ...(await picturesOf(config, modelFolder, objective)),
    vocabSize: await vocabSizeOf(modelFolder),
    scan: SCANNED_ROWS,
    ...looked,
  })
  return { examples, rows }
}

/** Of a model's config.json, whatever its family; undefined where it does not say. */
async function vocabSizeOf(folder: string): Promise<number | undefined> {
  const path = join(folder, "config.json")
  if (!existsSync(path)) return undefined
  refuseLinkOut(folder, "config.json")
  const { vocab_size: own, text_config: text } = await readJsonObject(path)
  const size = own ?? (isObject(text) ? text.vocab_size : undefined)
  return typeof size === "number" ? size : undefined
}
