import { existsSync } from "node:fs"
import { mkdir, readFile, realpath, rm, stat, statfs } from "node:fs/promises"
import { homedir } from "node:os"
import { basename, dirname, isAbsolute, join } from "node:path"
import { datasetInfo, getHFHubCachePath, listFiles, modelInfo } from "@huggingface/hub"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import { diskFolder } from "../formats/disk-folder.ts"
import type { ByteSource, Folder } from "../formats/folder.ts"
import { folderFiles } from "../formats/folder-files.ts"
import { fetchFile, isContent, readRange } from "./blobs.ts"
import { explain, type Repo } from "./explain.ts"
import { type HubFile, isHubId, MODEL_FILES } from "./names.ts"
import { isOffline } from "./offline.ts"
import { type Request, requester, shownEndpoint } from "./requests.ts"

export interface HubOptions {
  /** Branch, tag or commit. */
  readonly revision?: string
  /** HF_TOKEN, or the token that `huggingface-cli login` saved, when left out. */
  readonly token?: string
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: HubProgress) => void
}

export interface HubProgress {
  readonly file: string
  readonly bytes: number
  readonly totalBytes: number
}

const COMMIT = /^[0-9a-f]{40}$/
const REVISION = /^[\w.-]{1,96}(\/[\w.-]{1,96})*$/

export interface ModelOptions extends HubOptions {
  /** false: configs and tokenizer only. */
  readonly withWeights?: boolean
  /** What is said once, for people: something of the cache that was damaged and is made anew. */
  readonly onNotice?: (message: string) => void
}

/**
 * A local folder as it is, or the folder of a model of the hub, downloaded into the cache that
 * Python's huggingface_hub uses. Interrupted downloads are continued.
 *
 * @throws InputError when it is missing, gated, or not in the cache while offline
 */
export async function resolveModel(
  idOrPath: string,
  { withWeights = true, ...options }: ModelOptions = {},
): Promise<string> {
  if (existsSync(idOrPath)) {
    if ((await stat(idOrPath)).isDirectory()) return idOrPath
    throw new InputError(
      `model: ${idOrPath} is a file; expected a folder in Hugging Face's layout, or a .gguf file`,
    )
  }
  if (!isHubId(idOrPath)) {
    const isFile = /\.gguf$/i.test(idOrPath)
    throw new InputError(
      `model: ${idOrPath}: no such ${isFile ? "file" : "folder"}, and no hub id either (expected owner/name, or owner/name/FILE.gguf)`,
    )
  }
  const repo: Repo = { type: "model", name: idOrPath }
  const wanted = (path: string, all: readonly string[]) => {
    refuseGgufAlone(idOrPath, all)
    return MODEL_FILES.test(path) && (withWeights || !path.endsWith(".safetensors"))
  }
  const { folder } = await snapshot(repo, wanted, options)
  return folder
}

/** @throws InputError for a repository that holds GGUF files and no other weights */
function refuseGgufAlone(id: string, all: readonly string[]): void {
  const files = all.filter((path) => /\.gguf$/i.test(path))
  if (files.length === 0 || all.some((path) => path.endsWith(".safetensors"))) return
  throw new InputError(`${id}: holds GGUF files alone; name one of them: ${shownFiles(files, id)}`)
}

const SHOWN_FILES = 12

function shownFiles(files: readonly string[], id: string): string {
  const shown = files.slice(0, SHOWN_FILES).map((file) => `${id}/${file}`)
  const more = files.length - shown.length
  return `${shown.join(", ")}${more > 0 ? ` and ${more} more` : ""}`
}

/** @throws InputError naming the files of the same kind */
function missingFile({ id, file }: HubFile, all: readonly string[]): InputError {
  const files = all.filter((path) => /\.gguf$/i.test(path))
  const there = files.length === 0 ? "no GGUF file" : shownFiles(files, id)
  return new InputError(`${id}: has no ${file}; it has ${there}`)
}

/**
 * One file of a model's repository, downloaded into the cache.
 *
 * @throws InputError as {@link resolveModel}
 */
export async function resolveModelFile(wanted: HubFile, options: HubOptions = {}): Promise<string> {
  const { id, file } = wanted
  const isIt = (path: string, all: readonly string[]) => {
    if (!all.includes(file)) throw missingFile(wanted, all)
    return path === file
  }
  const { folder } = await snapshot({ type: "model", name: id }, isIt, options)
  return join(folder, file)
}

/**
 * The files of a model of the hub where they lie: nothing is downloaded, bytes are asked for by
 * ranges when they are read. While offline it is the folder in the cache.
 *
 * @throws InputError as {@link resolveModel}
 */
export async function remoteModel(id: string, options: HubOptions = {}): Promise<Folder> {
  const folder = await remoteFolder(id, (path) => MODEL_FILES.test(path), options)
  refuseGgufAlone(id, folder.all)
  return folder
}

/**
 * One file of a model's repository where it lies, read by ranges; while offline it is the cache's.
 *
 * @throws InputError as {@link resolveModel}
 */
export async function remoteModelFile(
  wanted: HubFile,
  options: HubOptions = {},
): Promise<ByteSource> {
  const { id, file } = wanted
  const folder = await remoteFolder(id, (path) => path === file, options)
  const source = await folder.open(file)
  if (!source) throw missingFile(wanted, folder.all)
  return source
}

/** `all`: what the repository holds, wanted or not. */
async function remoteFolder(
  id: string,
  wanted: (path: string) => boolean,
  options: HubOptions,
): Promise<Folder & { readonly all: readonly string[] }> {
  const { revision = "main", signal } = options
  const repo: Repo = { type: "model", name: id }
  const storage = checkedStorage(repo, revision)
  if (isOffline()) {
    const { folder, files } = await cachedSnapshot(repo, storage, revision, () => true)
    return { ...diskFolder(folder), all: files }
  }
  const explained = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw explain(error, repo, revision)
    })
  return explained(
    (async () => {
      const request = await signedRequester(options)
      const commit = await commitOf(repo, revision, request)
      const entries = await listing(repo, commit, request)
      const sizes = new Map(
        entries.filter(({ path }) => wanted(path)).map(({ path, size }) => [path, size]),
      )
      const pathOf = (name: string) => `${shownEndpoint()}/${id}/${name}`
      return {
        path: `${shownEndpoint()}/${id}`,
        pathOf,
        all: entries.map(({ path }) => path),
        names: async () => [...sizes.keys()],
        async open(name): Promise<ByteSource | undefined> {
          const bytes = sizes.get(name)
          if (bytes === undefined) return undefined
          const file = { repo, path: name, commit, request }
          const readInto = async (target: Uint8Array, position: number) => {
            signal?.throwIfAborted()
            await explained(readRange(file, target, position))
          }
          return { path: pathOf(name), bytes, readInto, close: async () => {} }
        },
      }
    })(),
  )
}

export interface DatasetOptions extends HubOptions {
  /** Configuration (subset); the only one, or "default", when left out. */
  readonly name?: string
  /** `train` when left out. */
  readonly split?: string
}

/** The hub converts every data set to parquet on this branch: config/split/0000.parquet, ... */
const PARQUET_BRANCH = "refs/convert/parquet"

/**
 * The parquet files of a data set of the hub, in order.
 *
 * @throws InputError when it, its configuration or its split is missing, or it is gated
 */
export async function resolveDataset(
  id: string,
  { name, split = "train", ...options }: DatasetOptions = {},
): Promise<string[]> {
  if (!isHubId(id)) throw new InputError(`${id}: expected a data set's hub id, owner/name`)
  const repo: Repo = { type: "dataset", name: id }
  const converted = { ...options, revision: options.revision ?? PARQUET_BRANCH }
  let chosen: string | undefined
  const { folder, files } = await snapshot(
    repo,
    (path, all) => {
      chosen ??= chooseConfiguration(id, all, name, split)
      return path.startsWith(`${chosen}/${split}/`) && path.endsWith(".parquet")
    },
    converted,
  )
  return files.sort().map((path) => join(folder, path))
}

function chooseConfiguration(
  id: string,
  files: readonly string[],
  name: string | undefined,
  split: string,
): string {
  const parts = files.filter((path) => path.endsWith(".parquet")).map((path) => path.split("/"))
  const names = [...new Set(parts.map(([first]) => first!))]
  const chosen = name ?? (names.includes("default") ? "default" : names[0])
  if (chosen === undefined) throw new InputError(`${id}: the hub has no parquet files of it`)
  if (!names.includes(chosen)) {
    throw new InputError(`${id}: no configuration "${chosen}"; it has ${names.join(", ")}`)
  }
  if (name === undefined && names.length > 1 && chosen !== "default") {
    throw new InputError(`${id}: name one of its configurations: name: ${names.join(" | ")}`)
  }
  const splits = [...new Set(parts.filter(([first]) => first === chosen).map((part) => part[1]!))]
  if (!splits.includes(split)) {
    throw new InputError(`${id}: no split "${split}" in ${chosen}; it has ${splits.join(", ")}`)
  }
  return chosen
}

interface Snapshot {
  readonly folder: string
  /** The files asked for, relative to it. */
  readonly files: string[]
}

type Wanted = (path: string, all: readonly string[]) => boolean

async function snapshot(repo: Repo, wanted: Wanted, options: HubOptions): Promise<Snapshot> {
  const { revision = "main", signal, onProgress } = options
  const storage = checkedStorage(repo, revision)
  if (isOffline()) return cachedSnapshot(repo, storage, revision, wanted)
  try {
    const request = await signedRequester(options)
    const commit = await commitOf(repo, revision, request)
    const entries = await listing(repo, commit, request)
    const all = entries.map(({ path }) => path)
    const files = entries.filter(({ path }) => isSafePath(path) && wanted(path, all))
    const sizes = new Map(files.map(({ path, size }) => [path, size]))
    const cached = (path: string) => existsSync(join(storage, "snapshots", commit, path))
    await checkDisk(
      storage,
      files.filter(({ path }) => !cached(path)),
    )
    for (const { path } of files) {
      signal?.throwIfAborted()
      await dropDamaged(join(storage, "snapshots", commit, path), sizes.get(path)!)
      await fetchFile({ repo, path, commit, storage, request, signal, onProgress })
    }
    // What offline use and Python find the revision by.
    const ref = join(storage, "refs", revision)
    await mkdir(dirname(ref), { recursive: true })
    await writeFileAtomic(ref, commit)
    return { folder: join(storage, "snapshots", commit), files: files.map(({ path }) => path) }
  } catch (error) {
    throw explain(error, repo, revision)
  }
}

/** Where the cache keeps a repository. @throws InputError for a revision that cannot be one */
function checkedStorage(repo: Repo, revision: string): string {
  if (!REVISION.test(revision) || revision.includes("..")) {
    throw new InputError(`${repo.name}: expected a branch, tag or commit, got "${revision}"`)
  }
  return join(getHFHubCachePath(), `${repo.type}s--${repo.name.replace("/", "--")}`)
}

export async function signedRequester({ token, signal }: HubOptions): Promise<Request> {
  const accessToken = token ?? process.env.HF_TOKEN ?? (await savedToken())
  return requester({ accessToken, signal })
}

/** Far above any repository. */
const MAX_FILES = 100_000

async function listing(repo: Repo, revision: string, request: Request) {
  const entries = new Map<string, { readonly path: string; readonly size: number }>()
  for await (const { type, path, size } of listFiles({
    repo,
    revision,
    recursive: true,
    ...request,
  })) {
    if (type !== "file") continue
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new InputError(`${repo.name}: the hub says that ${path} has ${String(size)} bytes`)
    }
    if (entries.has(path) || entries.size === MAX_FILES) {
      throw new InputError(
        `${repo.name}: the hub's list of files has no end (${path} is named twice, or more than ${MAX_FILES} are)`,
      )
    }
    entries.set(path, { path, size })
  }
  return [...entries.values()]
}

/**
 * Files up to this are looked at each time: several downloads at once may have mixed them up
 * (0.1.0).
 */
const LOOKED_AT_BYTES = 32e6

/** Removes a file of the cache that is not what its name says, so that it is fetched again. */
async function dropDamaged(pointer: string, size: number): Promise<void> {
  if (size > LOOKED_AT_BYTES || !existsSync(pointer)) return
  const blob = await realpath(pointer)
  if (basename(dirname(blob)) !== "blobs") return // a copy, where links are not allowed
  if (await isContent(blob, basename(blob), size)) return
  await rm(blob, { force: true })
  await rm(pointer, { force: true })
}

async function cachedSnapshot(
  repo: Repo,
  storage: string,
  revision: string,
  wanted: Wanted,
): Promise<Snapshot> {
  const ref = join(storage, "refs", revision)
  const commit = COMMIT.test(revision)
    ? revision
    : existsSync(ref)
      ? (await readFile(ref, "utf8")).trim()
      : undefined
  const folder = commit && join(storage, "snapshots", commit)
  if (!folder || !existsSync(folder)) {
    throw new InputError(
      `${repo.name}: is not in the cache (${storage}) and HF_HUB_OFFLINE is set; ` +
        "unset it once to download it, or give a local folder",
    )
  }
  const all = folderFiles(folder)
  return { folder, files: all.filter((path) => wanted(path, all)) }
}

/** The token that `huggingface-cli login` leaves. */
async function savedToken(): Promise<string | undefined> {
  const home = process.env.HF_HOME ?? join(homedir(), ".cache", "huggingface")
  const path = process.env.HF_TOKEN_PATH ?? join(home, "token")
  if (!existsSync(path)) return undefined
  return (await readFile(path, "utf8")).trim() || undefined
}

async function commitOf(repo: Repo, revision: string, request: Request): Promise<string> {
  if (COMMIT.test(revision)) return revision
  const asked = { name: repo.name, revision, additionalFields: ["sha" as const], ...request }
  const { sha } = repo.type === "model" ? await modelInfo(asked) : await datasetInfo(asked)
  if (typeof sha !== "string" || !COMMIT.test(sha)) {
    throw new InputError(`${repo.name}: the hub named no commit for revision "${revision}"`)
  }
  return sha
}

/** Names come from the hub: none may lead out of the snapshot. */
function isSafePath(path: string): boolean {
  return !isAbsolute(path) && !path.includes("\\") && !path.split("/").includes("..")
}

async function checkDisk(storage: string, files: readonly { size: number }[]): Promise<void> {
  await mkdir(storage, { recursive: true })
  const needed = files.reduce((sum, { size }) => sum + size, 0)
  const { bavail, bsize } = await statfs(storage)
  if (bavail * bsize > needed) return
  throw new InputError(
    `${storage}: needs ${(needed / 1e9).toFixed(1)} GB, ${((bavail * bsize) / 1e9).toFixed(1)} GB are free; set HF_HUB_CACHE to a larger disk`,
  )
}
