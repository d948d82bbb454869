import { existsSync } from "node:fs"
import {
  ASKED_KINDS,
  type Layout,
  layoutConflict,
  layoutOf,
  trainedKind,
  UNKNOWN_LAYOUT,
} from "../data/layout.ts"
import { LAYOUT_FILE, readLayout } from "../data/layout-file.ts"
import { templateSetup } from "../data/prepare.ts"
import { rawValues } from "../data/read-batch.ts"
import type { PlainTexts } from "../data/render.ts"
import { type RowPrompt, readRow } from "../data/rows/index.ts"
import { resolveSources, sourceBatches } from "../data/sources.ts"
import { isObject } from "../formats/json.ts"
import { isRunFolder, readRun } from "../run/run-folder.ts"
import { type ChatTemplate, loadChatTemplate } from "../text/index.ts"
import { type ModelFoldersOptions, modelFolders } from "./open-model.ts"
import type { PromptLayout } from "./prompt-rows.ts"

/** How a model is asked: as its rows were laid out, or as somebody says. */
export interface Asking extends PromptLayout {
  /** The rows' layout, whatever is asked for now. */
  readonly trained: Layout
  /** null: the model has none, or it is behind an endpoint. */
  readonly template: ChatTemplate | null
}

export interface AskingOptions
  extends Pick<ModelFoldersOptions, "base" | "signal" | "onProgress" | "onNotice"> {
  /** `auto`, `none`, `true` or a .jinja file, in place of the layout of the model's rows. */
  readonly template?: string | undefined
  /** An endpoint's model is only a name; its server has the template. */
  readonly endpoint?: boolean
}

/**
 * Reads how a model's rows were laid out: from `dftune.json` in its folder, else, of a run, from
 * its config and first rows; of any other model nothing is known, and a row's keys decide.
 *
 * @throws InputError naming what cannot be read
 */
export async function askingOf(
  model: string,
  { template: asked, endpoint = false, ...hub }: AskingOptions = {},
): Promise<Asking> {
  const setup = asked === undefined ? undefined : templateSetup(asked === "true" ? true : asked)
  if (endpoint) {
    const plainTexts = setup?.plainTexts ?? "auto"
    return { trained: UNKNOWN_LAYOUT, template: null, hasTemplate: true, plainTexts, columns: {} }
  }
  const { folder, textFolder } = await modelFolders(model, { ...hub, withBaseWeights: false })
  const file = setup?.templateFile ?? undefined
  const template = await loadChatTemplate(textFolder, file === undefined ? {} : { file })
  const hasTemplate = template !== null
  const trained =
    existsSync(`${folder}/${LAYOUT_FILE}`) || !isRunFolder(model)
      ? await readLayout(folder)
      : await layoutOfRun(model, hasTemplate)
  const plainTexts = setup?.plainTexts ?? trained.plainTexts
  return { trained, template, hasTemplate, plainTexts, columns: trained.columns }
}

/** The file of `--template`, as an option of `openModel`; a word names no file. */
export function templateFile(asked: string | undefined): { readonly templateFile?: string } {
  const file =
    asked === undefined ? null : templateSetup(asked === "true" ? true : asked).templateFile
  return file === null ? {} : { templateFile: file }
}

/** Rows that tell how a run of dftune 0.1.0 laid them out. */
const LOOKED_AT = 100

/** Of a run whose model says nothing: its config says how, its first rows say what they were. */
async function layoutOfRun(run: string, hasTemplate: boolean): Promise<Layout> {
  const config = readRun(run).record?.config
  const data = isObject(config) && isObject(config.data) ? config.data : {}
  const given = typeof data.template === "string" ? data.template : data.template === true
  const { plainTexts } = templateSetup(given)
  return layoutOf(plainTexts, {}, await firstKinds(data.train, plainTexts, hasTemplate))
}

async function firstKinds(
  sources: unknown,
  plainTexts: PlainTexts,
  hasTemplate: boolean,
): Promise<Layout["trained"]> {
  const counts = Object.fromEntries(ASKED_KINDS.map((kind) => [kind, 0])) as Record<
    (typeof ASKED_KINDS)[number],
    number
  >
  let seen = 0
  try {
    const files = await resolveSources(sources as Parameters<typeof resolveSources>[0])
    for await (const { batch } of sourceBatches(files)) {
      for (const { line, value } of rawValues(batch)) {
        const where = `${batch.path}:${line}`
        const example = readRow(value, { format: "auto", purpose: "supervised", where })
        counts[trainedKind(example, { hasTemplate, plainTexts })]++
        if (++seen >= LOOKED_AT) return counts
      }
    }
  } catch {
    // its rows are elsewhere by now, or are no rows any more: then nothing is known of them
    return seen > 0 ? counts : null
  }
  return seen > 0 ? counts : null
}

/**
 * What to tell somebody who asks in another layout than the trained one; undefined when it is that
 * one.
 */
export function askingWarning(
  prompt: RowPrompt,
  asking: Asking,
): { readonly message: string; readonly hint: string } | undefined {
  const { trained, template, plainTexts } = asking
  const conflict = layoutConflict(prompt, trained, { template, plainTexts })
  if (conflict === undefined) return undefined
  const quoted = (text: string) =>
    JSON.stringify(text.length <= 300 ? text : `${text.slice(0, 150)} ... ${text.slice(-150)}`)
  return {
    message: `this model was trained on questions in another layout\n  asked:   ${quoted(conflict.asked)}\n  trained: ${quoted(conflict.trained)}`,
    hint: "--chat, --template or the prompts' keys (prompt, question, messages) decide; without them a question is asked as it was trained",
  }
}
