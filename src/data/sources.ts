import { existsSync, statSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { NoiseConfig, SourceConfig } from "../config/index.ts"
import { assert, InputError } from "../errors.ts"
import { resolveDataset } from "../hub/hub.ts"
import { isHubId } from "../hub/names.ts"
import { randomStream } from "../random.ts"
import { folderFiles } from "./data-folder.ts"
import { globFiles, isGlob } from "./glob.ts"
import type { RawBatch } from "./read-batch.ts"
import { kindByContent, type RawRow, type RowFileKind, rawRows, rowFileKind } from "./row-files.ts"

export interface SourceFile {
  readonly path: string
  readonly kind: RowFileKind
  readonly bytes: number
}

/** An entry of `data.train` or `data.eval`, its files found. */
export interface Source {
  /** As the config names it. */
  readonly path: string
  readonly files: readonly SourceFile[]
  readonly weight: number
  readonly maxRows: number | undefined
  readonly shuffleSeed: number | undefined
  readonly noise: NoiseConfig | undefined
}

/**
 * Finds the files of each source; a hub data set is downloaded into the hub's own cache.
 *
 * @throws InputError for what is not there or is of no known kind.
 */
export async function resolveSources(
  sources: readonly SourceConfig[],
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Source[]> {
  const resolved: Source[] = []
  for (const source of sources) {
    const { weight, max_rows: maxRows, shuffle_seed: shuffleSeed, noise } = source
    const files = (await pathsOf(source, signal)).map(sourceFile)
    resolved.push({ path: source.path, files, weight, maxRows, shuffleSeed, noise })
  }
  return resolved
}

async function pathsOf(source: SourceConfig, signal: AbortSignal | undefined): Promise<string[]> {
  const { name, split } = source
  const path = localPath(source.path)
  const isLocal = existsSync(path) || isGlob(path) || rowFileKind(path) !== undefined
  if (!isLocal) {
    if (isHubId(path)) {
      const asked = { name, split, signal }
      const given = Object.entries(asked).filter(([, value]) => value !== undefined)
      return resolveDataset(path, Object.fromEntries(given))
    }
    throw new InputError(
      `${path}: no such file (looked in ${process.cwd()} and beside the config); expected a .jsonl, .json, .csv, .parquet or .arrow file, a folder, a glob, or a hub data set id such as openai/gsm8k`,
    )
  }
  if (existsSync(path) && statSync(path).isDirectory()) return folderFiles(path, { name, split })
  if ((name ?? split) !== undefined) {
    throw new InputError(
      `${path}: ${name === undefined ? "split" : "name"} applies to hub data sets only, and to folders; name the file itself`,
    )
  }
  if (isGlob(path) && !existsSync(path)) {
    const found = globFiles(path)
    if (found.length > 0) return found
    throw new InputError(`${path}: no file matches`)
  }
  if (!existsSync(path)) {
    const several = path.split(",").map((part) => part.trim())
    const list = several.length > 1 ? `; of several files make a list: [${several.join(", ")}]` : ""
    throw new InputError(
      `${path}: no such file (looked in ${process.cwd()} and beside the config)${list}`,
    )
  }
  return [path]
}

/**
 * A path as the file system has it: `file://` and `~` are read as shells do.
 *
 * @throws InputError for what is no path of this machine, with the way to write it
 */
function localPath(path: string): string {
  if (path.startsWith("file://")) {
    try {
      return fileURLToPath(path)
    } catch (error) {
      throw new InputError(`${path}: no path of a file: ${(error as Error).message}`)
    }
  }
  if (/^~[\\/]/.test(path)) return join(homedir(), path.slice(2))
  const hub = /^hf:\/\/(?:datasets\/)?([^/]+\/[^/@]+)/.exec(path)
  if (hub !== null) {
    throw new InputError(
      `${path}: write the data set's id, ${hub[1]}, with name: and split: for a part of it`,
    )
  }
  const page = /^https?:\/\/[^/]*huggingface\.co\/datasets\/([^/]+\/[^/]+)/.exec(path)
  if (page !== null) {
    throw new InputError(`${path}: write the data set's id, ${page[1]}, in place of its address`)
  }
  if (/^[a-z][a-z\d+.-]*:\/\//i.test(path)) {
    throw new InputError(`${path}: addresses are not read; download the file and give its path`)
  }
  return path
}

function sourceFile(path: string): SourceFile {
  const stat = statSync(path)
  if (stat.isDirectory()) {
    throw new InputError(
      `${path}: expected a file, got a folder; write ${path}/*.jsonl for what is in it`,
    )
  }
  if (!stat.isFile()) throw new InputError(`${path}: expected a file, got a device or pipe`)
  const kind = rowFileKind(path) ?? kindByContent(path)
  if (kind === undefined) {
    throw new InputError(
      `${path}: expected .jsonl, .json, .csv, .tsv (also .gz or .zst), .parquet or .arrow`,
    )
  }
  return { path, kind, bytes: stat.size }
}

/** Files of which no row is left out. */
export const wholeFiles = (sources: readonly Source[]): string[] =>
  sources.flatMap(({ files, maxRows }) =>
    maxRows === undefined ? files.map(({ path }) => path) : [],
  )

export interface SourceBatch {
  /** Index over the files of all sources. */
  readonly file: number
  /** Of all bytes, read so far. */
  readonly fraction: number
  readonly batch: RawBatch
}

/** Text of a batch: enough work to be worth a message, little enough to wait for. */
const BATCH_BYTES = 512 * 1024
const BATCH_ROWS = 1000

/** The chosen rows of all sources, file by file, in batches. */
export async function* sourceBatches(sources: readonly Source[]): AsyncGenerator<SourceBatch> {
  const total = sources.reduce((sum, { files }) => sum + bytesOf(files), 0)
  let before = 0
  let index = 0
  for (const source of sources) {
    const chooses = await rowChooser(source)
    for (const file of source.files) {
      const collector = batchCollector(file.path, source.noise)
      let exhausted = false
      for await (const { rows, fraction } of rawRows(file.path, file.kind)) {
        const done = total === 0 ? 1 : (before + fraction * file.bytes) / total
        for (const row of rows) {
          const choice = chooses()
          if (choice === "end") {
            exhausted = true
            break
          }
          if (choice === "skip") continue
          const batch = collector.add(row)
          if (batch !== undefined) yield { file: index, fraction: done, batch }
        }
        if (exhausted) break
      }
      const last = collector.finish()
      if (last !== undefined)
        yield {
          file: index,
          fraction: total === 0 ? 1 : (before + file.bytes) / total,
          batch: last,
        }
      before += file.bytes
      index++
    }
  }
}

const bytesOf = (files: readonly SourceFile[]) => files.reduce((sum, { bytes }) => sum + bytes, 0)

/**
 * Says of one row after the other whether it is taken: all, the first max_rows, or max_rows chosen
 * with a seed (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S), in their order.
 */
async function rowChooser({
  files,
  maxRows,
  shuffleSeed,
}: Source): Promise<() => "take" | "skip" | "end"> {
  if (maxRows === undefined) return () => "take"
  let wanted = maxRows
  if (shuffleSeed === undefined) return () => (wanted-- > 0 ? "take" : "end")
  let left = 0
  for (const { path, kind } of files)
    for await (const { rows } of rawRows(path, kind)) left += rows.length
  const random = randomStream(shuffleSeed, "subset")
  return () => {
    if (wanted === 0) return "end"
    const taken = random() * left-- < wanted
    if (taken) wanted--
    return taken ? "take" : "skip"
  }
}

/**
 * Packs rows into batches: JSON text end to end in one buffer, which crosses to a thread as one.
 */
function batchCollector(path: string, noise: NoiseConfig | undefined) {
  let lines: number[] = []
  let json: Uint8Array[] = []
  let values: unknown[] = []
  let problems: [number, string][] = []
  let bytes = 0
  const finish = (): RawBatch | undefined => {
    if (lines.length + problems.length === 0) return undefined
    assert(json.length === 0 || values.length === 0, "a batch of two kinds of rows")
    const ends = new Int32Array(json.length)
    let at = 0
    for (const [i, part] of json.entries()) {
      at += part.length
      ends[i] = at
    }
    const batch: RawBatch = {
      path,
      lines,
      rows:
        json.length > 0
          ? { kind: "json", bytes: Buffer.concat(json), ends }
          : { kind: "values", values },
      problems,
      ...(noise ? { noise } : {}),
    }
    lines = []
    json = []
    values = []
    problems = []
    bytes = 0
    return batch
  }
  return {
    finish,
    add(row: RawRow): RawBatch | undefined {
      if ("problem" in row) problems.push([row.line, row.problem])
      else {
        lines.push(row.line)
        if ("json" in row) {
          json.push(row.json)
          bytes += row.json.length
        } else {
          values.push(row.value)
          bytes += sizeOf(row.value)
        }
      }
      return bytes >= BATCH_BYTES || lines.length + problems.length >= BATCH_ROWS
        ? finish()
        : undefined
    },
  }
}

/** Characters of text in a value, roughly. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return value.length
  if (typeof value !== "object" || value === null) return 8
  return Object.values(value).reduce<number>((sum, inner) => sum + sizeOf(inner), 8)
}
