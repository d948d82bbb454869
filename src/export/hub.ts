/** A run's model, sent to the hub with a card that is made from the run. */
import { copyFileSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { homedir } from "node:os"
import { basename, join, resolve } from "node:path"
import { InputError } from "../errors.ts"
import type { SuiteResult } from "../evaluate/index.ts"
import { folderFiles } from "../formats/folder-files.ts"
import { isObject, readJsonFile, writeFileAtomic } from "../formats/index.ts"
import { modelFolders } from "../generate/index.ts"
import { modelNamed } from "../generate/model-named.ts"
import { ownPlace } from "../host/own-place.ts"
import type { Told } from "../host/told.ts"
import { type Uploaded, uploadFolder } from "../hub/upload.ts"
import { progressMeter } from "../report/progress.ts"
import { summarizeRun } from "../report/run-summary.ts"
import { isRunFolder, RUN_FILES, readRun } from "../run/run-folder.ts"
import { type ExportedFile, type ExportResult, exportModel } from "./export.ts"
import { modelCard, repeatableConfig } from "./model-card.ts"
import { plainValue } from "./places.ts"

export interface HubExportOptions extends Pick<Told, "signal" | "onProgress" | "onNotice"> {
  /** owner/name. */
  readonly repo: string
  /** A repository that is made is private without. */
  readonly isPublic?: boolean
  /** Also the run's samples, which hold texts of its rows. */
  readonly withSamples?: boolean
  /** Folders of `dftune eval`. */
  readonly evaluations?: readonly string[]
  /** Asked before anything is sent; false: nothing is. */
  readonly approve: (files: readonly ExportedFile[]) => Promise<boolean>
}

export interface HubExportResult extends ExportResult {
  readonly uploaded: Uploaded | undefined
}

const CARD = "README.md"
const SETTINGS = "dftune.yaml"

/** What is written here and may name a place; vocabularies and templates are another's words. */
const OWN_TEXTS =
  /^((config|generation_config|adapter_config|dftune|tokenizer_config)\.json|.*\.(yaml|md))$/

/**
 * Exports a run (`--to peft` of an adapter, else `--to hf`) into its `export/hub`, writes the card
 * and the settings beside it, and sends them. Nothing names a place of this machine.
 *
 * @throws InputError as `exportModel`, for what is no run, and for what the hub refuses
 */
export async function exportToHub(
  word: string,
  options: HubExportOptions,
): Promise<HubExportResult> {
  const {
    repo,
    isPublic = false,
    withSamples = false,
    evaluations = [],
    signal,
    onProgress,
    onNotice,
  } = options
  const run = await modelNamed(word, onNotice)
  if (!isRunFolder(run)) {
    throw new InputError(
      `${run}: --to hub makes the model's card from a run; expected a run folder`,
    )
  }
  const suites = (await Promise.all(evaluations.map(suiteResults))).flat()
  const { base } = await modelFolders(run, { withBaseWeights: false })
  const out = ownPlace(run, "export", "hub")
  const exported = await exportModel(run, {
    ...{ to: base === null ? "hf" : "peft", out, force: existsSync(out) },
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
    ...(onNotice ? { onNotice } : {}),
  })
  const summary = summarizeRun(readRun(run), basename(resolve(run)))
  const isAdapter = base !== null
  const card = await modelCard(summary, { repo, isAdapter, evaluations: suites, withSamples })
  await writeFileAtomic(join(out, CARD), card)
  await writeFileAtomic(join(out, SETTINGS), repeatableConfig(summary))
  if (withSamples) copySamples(run, out)
  // what else lies in the folder is not ours to change or send
  const own = new Set([...exported.files.map(({ file }) => file), CARD, SETTINGS])
  if (withSamples) own.add(RUN_FILES.samples)
  const files = folderFiles(out)
    .filter((path) => own.has(path.split("/")[0]!))
    .sort()
    .map((file) => {
      if (OWN_TEXTS.test(file)) withoutPlacesIn(join(out, file))
      return { file, bytes: statSync(join(out, file)).size }
    })
  const result = { ...exported, files, notes: exported.notes.map((note) => `${plainValue(note)}`) }
  if (!(await options.approve(files))) return { ...result, uploaded: undefined }
  const meters = new Map<string, ReturnType<typeof progressMeter>>()
  const uploaded = await uploadFolder({
    ...{ repo, folder: out, isPublic },
    files: files.map(({ file }) => file),
    message: `dftune: ${summary.name}`,
    ...(signal ? { signal } : {}),
    onProgress: ({ file, bytes, totalBytes }) => {
      const meter = meters.get(file) ?? progressMeter(`sending ${file}`, { unit: "bytes" })
      meters.set(file, meter)
      onProgress?.(meter(bytes, totalBytes))
    },
  })
  return { ...result, uploaded }
}

function copySamples(run: string, out: string): void {
  const samples = ownPlace(run, RUN_FILES.samples)
  if (!existsSync(samples)) return
  const copy = join(out, RUN_FILES.samples)
  rmSync(copy, { force: true }) // a link there would be written through
  copyFileSync(samples, copy)
}

/** Places in a JSON file become names; one that is left anywhere is a reason not to send it. */
function withoutPlacesIn(path: string): void {
  const text = readFileSync(path, "utf8")
  const plain = path.endsWith(".json") ? plainJson(text, basename(path)) : text
  for (const place of [homedir(), process.cwd()]) {
    if (place.length > 1 && plain.includes(place)) {
      throw new InputError(`${path}: names a folder of this machine, ${place}; it is not sent`)
    }
  }
  if (plain !== text) writeFileSync(path, plain)
}

/** The text itself where it names no place: numbers keep the digits that they have. */
function plainJson(text: string, name: string): string {
  const value: unknown = JSON.parse(text)
  if (!isObject(value)) return text
  // a tokenizer's config holds the chat template, in which "/think" is a word
  const asked = name === "tokenizer_config.json" ? { name_or_path: value.name_or_path } : value
  const plain = { ...value, ...(plainValue(asked) as object) }
  if (JSON.stringify(plain) === JSON.stringify(value)) return text
  return `${JSON.stringify(plain, null, 2)}\n`
}

async function suiteResults(folder: string): Promise<SuiteResult[]> {
  const path = join(folder, "eval.json")
  const results = existsSync(path) ? await readJsonFile(path) : undefined
  if (Array.isArray(results) && results.every((one) => isObject(one) && "ci95" in one)) {
    return results as SuiteResult[]
  }
  throw new InputError(`${path}: expected the results of dftune eval --out`)
}
