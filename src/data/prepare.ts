import { existsSync } from "node:fs"
import { mkdir, rename, rm } from "node:fs/promises"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import type { DataFormat, LeaveOut, SourceConfig, Supervise } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { makeFolder, removeAllLeft, temporaryName } from "../formats/atomic.ts"
import { fileHash, writeFileAtomic } from "../formats/index.ts"
import { cacheFolder } from "../host/cache-folder.ts"
import { loadChatTemplate } from "../text/index.ts"
import type { BatchResult, BatchSetup } from "./batch.ts"
import { type BatchPool, batchPool } from "./batch-pool.ts"
import { type CacheKey, cacheKey, keyOf010 } from "./cache-key.ts"
import { exactlyNoised } from "./exact-noise.ts"
import { type LeftOut, leavesOut, rowsToLeaveOut } from "./leave-out.ts"
import { type Lint, lintsOf, ROW_NOTES } from "./lints.ts"
import { rowsPerEpoch } from "./order.ts"
import { pictureTable } from "./pictures/picture-table.ts"
import type { PictureProcessor } from "./pictures/processors.ts"
import { type Manifest, PREPARED_VERSION } from "./prepared.ts"
import { preparedState } from "./prepared-check.ts"
import { counter } from "./row-counter.ts"
import { HASHES_FILE } from "./row-hashes.ts"
import type { Columns, Purpose } from "./rows/index.ts"
import { shardWriter } from "./shard-writer.ts"
import { resolveSources, type Source, sourceBatches, wholeFiles } from "./sources.ts"

export interface PrepareOptions {
  readonly sources: readonly SourceConfig[]
  /** Folder with the tokenizer's files (and the model's configs, which name the EOS ids). */
  readonly tokenizer: string
  readonly format?: DataFormat
  readonly purpose?: Purpose
  readonly maxLength?: number
  readonly supervise?: Supervise
  /** As `data.template` of the config. */
  readonly template?: boolean | string | null
  /** As `data.columns`. */
  readonly columns?: Columns
  /** As `data.implicit_prompt`. */
  readonly implicitPrompt?: boolean
  /** As `data.on_long_pair`. */
  readonly onLongPair?: "drop" | "truncate"
  /**
   * Of a model of vision and language: how its pictures are read. Left out: a row with one is bad.
   */
  readonly pictures?: PictureProcessor | undefined
  /** As `data.image_max_pixels`. */
  readonly imageMaxPixels?: number | null
  /** The day (YYYY-MM-DD) that a template which asks for it is told; today when left out. */
  readonly day?: string | undefined
  readonly onBadRow?: "error" | "skip"
  /** `data.near_duplicates` and `data.decontaminate`, of rows to train on. */
  readonly leaveOut?: LeaveOut
  /** Threads; 0 works in this one. "auto": one a core, at most 8, 0 for a few megabytes. */
  readonly workers?: number | "auto"
  /** Where prepared folders are kept. */
  readonly cache?: string
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: PrepareProgress) => void
}

export interface PrepareProgress {
  readonly rows: number
  readonly tokens: number
  /** Of the files, read so far. */
  readonly fraction: number
}

export interface PreparedData {
  readonly dir: string
  readonly manifest: Manifest
  readonly lints: readonly Lint[]
  /** It was there already. */
  readonly fromCache: boolean
}

const preparedCache = () => join(cacheFolder(), "prepared")

const SMALL_BYTES = 4 * 2 ** 20
/** Each thread holds a tokenizer of its own, some 250 MB; more are for those who ask. */
const MAX_THREADS = 8

/**
 * Reads, renders, tokenises and masks rows, once: the result is kept in a folder named by the hash
 * of everything it depends on. Memory does not grow with the data. Two runs at once are safe.
 *
 * @throws InputError naming file and line for a row that cannot be read (unless `onBadRow` is
 * skip), when nothing is left to train, and for sources, tokenizers and templates that are missing
 * or wrong.
 */
export async function prepareData(options: PrepareOptions): Promise<PreparedData> {
  const { onBadRow = "error", workers = "auto", signal, onProgress } = options
  const { cache = preparedCache() } = options
  removeAllLeft(cache)
  const resolved = await resolveSources(options.sources, { signal })
  const setup = await datedSetup(options)
  const leaveOut = options.leaveOut && leavesOut(options.leaveOut) ? options.leaveOut : undefined
  const key = await cacheKey({ setup, sources: resolved, leaveOut, onBadRow, signal })
  const dir = join(cache, key.key)
  const found = await preparedState(dir)
  if (found.state === "whole") {
    const { manifest } = found
    return { dir, manifest, lints: manifest.lints, fromCache: true }
  }
  signal?.throwIfAborted()
  makeFolder(cache)
  const temporary = temporaryName(dir)
  await mkdir(temporary)
  try {
    const bytes = resolved.reduce(
      (sum, source) => sum + source.files.reduce((all, file) => all + file.bytes, 0),
      0,
    )
    const threads =
      workers === "auto"
        ? bytes < SMALL_BYTES
          ? 0
          : Math.min(MAX_THREADS, availableParallelism())
        : workers
    const leftOut = leaveOut && (await rowsToLeaveOut(resolved, leaveOut, { ...setup, signal }))
    const noisy = await exactlyNoised(resolved, { ...setup, leftOut: leftOut?.lines, signal })
    const manifest = await prepareInto(temporary, {
      sources: resolved,
      leftOut,
      noisy,
      setup,
      key,
      onBadRow,
      hasConfig: options.onBadRow !== undefined,
      threads,
      signal,
      onProgress,
    })
    await publish(temporary, dir)
    const again = found.state === "damaged" ? [madeAnew(found.damage)] : []
    return { dir, manifest, lints: [...again, ...manifest.lints], fromCache: false }
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

/** The key by which a run of dftune 0.1.0 knows the rows of these files and settings. */
export async function preparedKeyOf010(options: PrepareOptions): Promise<string> {
  const { signal, onBadRow = "error" } = options
  const sources = await resolveSources(options.sources, { signal })
  return keyOf010({ setup: batchSetup(options), sources, onBadRow, signal })
}

/** What of the options decides how a row becomes tokens. */
export function batchSetup({
  tokenizer,
  format = "auto",
  purpose = "supervised",
  maxLength = 2048,
  supervise = "completions",
  template = "auto",
  columns = {},
  implicitPrompt = false,
  onLongPair = "drop",
  pictures,
  imageMaxPixels = null,
  cache = preparedCache(),
}: Omit<PrepareOptions, "sources">): BatchSetup {
  return {
    tokenizer,
    ...templateSetup(template),
    purpose,
    format,
    columns,
    implicitPrompt,
    onLongPair,
    supervise,
    maxLength,
    pictures: pictures
      ? { processor: pictures, maxPixels: imageMaxPixels, store: join(cache, "pictures") }
      : null,
    day: null,
  }
}

/**
 * The same with the day that the template writes into every chat, where it asks for one: then it is
 * part of what the rows are made from.
 */
export async function datedSetup(options: Omit<PrepareOptions, "sources">): Promise<BatchSetup> {
  const setup = batchSetup(options)
  const file = setup.templateFile === null ? {} : { file: setup.templateFile }
  const template = await loadChatTemplate(setup.tokenizer, file)
  const asks = template?.readsClock === true
  return { ...setup, day: asks ? (options.day ?? today()) : null }
}

/** In local time, as a template's clock is. */
function today(): string {
  const now = new Date()
  const two = (part: number) => String(part).padStart(2, "0")
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`
}

/** `data.template` as what it does to plain texts, and the file it names. */
export function templateSetup(
  template: boolean | string | null,
): Pick<BatchSetup, "plainTexts" | "templateFile"> {
  if (template === "auto") return { plainTexts: "auto", templateFile: null }
  if (template === "none" || template === null || template === false)
    return { plainTexts: "none", templateFile: null }
  return { plainTexts: "all", templateFile: template === true ? null : template }
}

const madeAnew = (damage: string): Lint => ({
  code: "damaged-cache",
  severity: "warning",
  message: `the prepared rows in the cache were damaged and have been made anew (${damage})`,
  hint: "nothing is lost; a disk that does this often is failing",
  count: 1,
  examples: [],
})

/** Renames the finished folder into place; when another run was first, its folder is as good. */
export async function publish(temporary: string, dir: string): Promise<void> {
  try {
    await rename(temporary, dir)
  } catch (error) {
    if ((await preparedState(dir)).state === "whole") return
    if (!existsSync(dir)) throw error
    await rm(dir, { recursive: true, force: true }) // a damaged folder of that name
    await rename(temporary, dir)
  }
}

interface IntoOptions {
  readonly sources: readonly Source[]
  readonly leftOut: LeftOut | undefined
  /** As `exactlyNoised` says. */
  readonly noisy: readonly (ReadonlySet<number> | undefined)[]
  readonly setup: BatchSetup
  readonly key: CacheKey
  readonly onBadRow: "error" | "skip"
  /** Somebody has settings, of which one lets bad rows be skipped. */
  readonly hasConfig: boolean
  readonly threads: number
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: PrepareProgress) => void) | undefined
}

async function prepareInto(dir: string, options: IntoOptions): Promise<Manifest> {
  const { sources, leftOut, setup, key, onBadRow, threads, onProgress } = options
  const writer = shardWriter(dir, setup.purpose)
  const pictures = pictureTable()
  const files = sources.flatMap(({ files, weight, path: source }) =>
    files.map((file) => ({ ...file, weight, source })),
  )
  const total = counter(files)
  const take = async (file: number, fraction: number, done: BatchResult): Promise<void> => {
    const [firstBad] = done.bad
    if (firstBad !== undefined && onBadRow === "error") {
      throw badRow(firstBad[1], options.hasConfig)
    }
    total.add(file, done)
    await writer.append(done.sides, file)
    pictures.add(file, done.pictures)
    onProgress?.({ rows: total.rows(), tokens: total.tokens(), fraction })
  }
  const pool = await batchPool(setup, threads)
  try {
    await eachBatch(options, pool, take)
  } finally {
    await pool.close()
  }
  const shards = await writer.finish()
  const hashes = total.hashes()
  await hashes.write(dir)
  const hashesSha256 = await fileHash(join(dir, HASHES_FILE))
  const counted = lintsOf({
    purpose: setup.purpose,
    maxLength: setup.maxLength,
    rows: total.rows(),
    tokens: total.tokens(),
    supervisedTokens: total.supervised(),
    dropped: total.tally("dropped"),
    bad: total.tally("bad"),
    untrained: total.untrained(),
    unusedKeys: total.unusedKeys(),
    duplicates: hashes.duplicates((row) => total.place(row)),
    emptyFiles: wholeFiles(sources).filter((path) => total.isEmpty(path)),
    notes: new Map(
      ROW_NOTES.map((note) => [note, total.tally(note)] as const).filter(
        ([, { count }]) => count > 0,
      ),
    ),
  })
  const lints = [...(leftOut?.lints ?? []), ...counted]
  const fatal = lints.find(({ severity }) => severity === "error")
  if (fatal !== undefined) throw lintError(fatal, lints)
  const prepared = files.map(({ path, weight }, i) => ({ path, ...total.file(i), weight }))
  if (rowsPerEpoch({ sources: prepared }) === 0) {
    throw new InputError(
      `nothing to train: with these weights an epoch has no row (${prepared.map(({ path, rows, weight }) => `${path}: ${rows} rows, weight ${weight}`).join("; ")})`,
    )
  }
  const manifest: Manifest = {
    version: PREPARED_VERSION,
    key: key.key,
    purpose: setup.purpose,
    rows: total.rows(),
    tokens: total.tokens(),
    supervised_tokens: total.supervised(),
    sources: prepared,
    shards,
    layouts: total.layouts(),
    rows_sha256: pictures.hashWith(writer.rowsHash(prepared)),
    ...(await pictures.write(dir)),
    hashes_sha256: hashesSha256,
    files: key.files,
    tokenizer: key.tokenizer,
    template_sha256: key.template,
    options: key.options,
    lints,
  }
  await writeFileAtomic(join(dir, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`)
  return manifest
}

/** Prepares batches side by side and hands them on in the order of their rows. */
async function eachBatch(
  { sources, leftOut, noisy, signal }: IntoOptions,
  pool: BatchPool,
  take: (file: number, fraction: number, done: BatchResult) => Promise<void>,
): Promise<void> {
  const underWay: {
    readonly file: number
    readonly fraction: number
    readonly result: Promise<BatchResult>
  }[] = []
  const takeFirst = async (): Promise<void> => {
    const { file, fraction, result } = underWay.shift()!
    await take(file, fraction, await result)
  }
  try {
    for await (const { file, fraction, batch } of sourceBatches(sources)) {
      signal?.throwIfAborted()
      const chosen = { noisy: noisy[file], ...(leftOut ? { leftOut: leftOut.lines[file]! } : {}) }
      const result = pool.prepare({ ...batch, ...chosen })
      result.catch(() => {}) // awaited in order below; failing before, it must not end us
      underWay.push({ file, fraction, result })
      if (underWay.length >= pool.width) await takeFirst()
    }
    while (underWay.length > 0) await takeFirst()
  } catch (error) {
    await Promise.allSettled(underWay.map(({ result }) => result))
    throw error
  }
}

function lintError({ message, hint, examples }: Lint, all: readonly Lint[]): InputError {
  const bad = all.find(({ code }) => code === "bad-rows")
  const where = examples.length === 0 ? "" : ` (${examples.join(", ")})`
  return new InputError(`${message}${where}; ${hint}${bad === undefined ? "" : `\n${bad.message}`}`)
}

/**
 * The way out is named where it is one: a verb that takes rows by themselves has no such setting.
 */
const badRow = (message: string, hasConfig: boolean) =>
  new InputError(
    hasConfig
      ? `${message}\n(data.on_bad_row: skip leaves such rows out and counts them)`
      : message,
  )
