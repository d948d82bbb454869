/** One file of the hub into the cache that Python shares: whole and checked, or not at all. */
import { createHash, randomBytes } from "node:crypto"
import { createReadStream, existsSync, lstatSync, readdirSync, renameSync, statSync } from "node:fs"
import { copyFile, mkdir, open, rename, rm, symlink } from "node:fs/promises"
import { hostname } from "node:os"
import { basename, dirname, join, relative } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileDownloadInfo } from "@huggingface/hub"
import { InputError } from "../errors.ts"
import { writeError } from "../formats/atomic.ts"
import { waitAfter } from "../host/patience.ts"
import { isPassing, PATIENCE, type Request } from "./requests.ts"

export interface FileRequest {
  readonly repo: { readonly type: "model" | "dataset"; readonly name: string }
  readonly path: string
  readonly commit: string
  readonly storage: string
  readonly request: Request
  readonly signal: AbortSignal | undefined
  readonly onProgress:
    | ((progress: { file: string; bytes: number; totalBytes: number }) => void)
    | undefined
}

/** A file of the hub, at one commit. */
export type RemoteFile = Pick<FileRequest, "repo" | "path" | "commit" | "request">

/** One file into the cache: a blob by its ETag, and a link to it in the snapshot. */
export async function fetchFile(file: FileRequest): Promise<void> {
  const { repo, path, commit, storage, request } = file
  const pointer = join(storage, "snapshots", commit, path)
  if (existsSync(pointer)) return
  const info = await fileDownloadInfo({ repo, path, revision: commit, ...request })
  if (!info) throw new InputError(`${repo.name}: ${path} has gone from the hub`)
  const etag = info.etag.replace(/^W\//, "").replaceAll('"', "")
  if (!/^[\w.-]{1,128}$/.test(etag)) throw new InputError(`${repo.name}: ${path}: strange ETag`)
  const blob = join(storage, "blobs", etag)
  try {
    await mkdir(dirname(blob), { recursive: true })
    await mkdir(dirname(pointer), { recursive: true })
    if (!existsSync(blob)) await downloadBlob(blob, info.size, file)
    await link(blob, pointer)
  } catch (error) {
    throw writeError(error, blob)
  }
}

async function link(blob: string, pointer: string): Promise<void> {
  try {
    await symlink(relative(dirname(pointer), blob), pointer)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return
    await copyFile(blob, pointer) // where links are not allowed (Windows)
  }
}

const HOST = createHash("sha256").update(hostname()).digest("hex").slice(0, 6)
/** Partial files that this process is writing. */
const writing = new Set<string>()
/** A download that has not grown for so long is nobody's. */
const STALLED_MS = 120_000
const LOOK_AGAIN_MS = 500

const partialName = (blob: string) =>
  `${blob}.${process.pid}-${HOST}.${randomBytes(4).toString("hex")}.incomplete`

/**
 * Partial files of a blob: ours and other processes', and those of 0.1.0 and Python (without a
 * process).
 */
function partials(blob: string): { path: string; alive: boolean }[] {
  const name = basename(blob)
  return readdirSync(dirname(blob))
    .filter((other) => other.startsWith(`${name}.`) && other.endsWith(".incomplete"))
    .map((other) => join(dirname(blob), other))
    .filter((path) => lstatSync(path, { throwIfNoEntry: false })?.isFile())
    .map((path) => ({ path, alive: isBeingWritten(path, name) }))
}

function isBeingWritten(path: string, name: string): boolean {
  const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0)
  const [, pid, host] = /^(\d+)-([0-9a-f]{6})\./.exec(basename(path).slice(name.length + 1)) ?? []
  if (pid === undefined || host !== HOST) return age < STALLED_MS
  if (Number(pid) === process.pid) return writing.has(path)
  return age < STALLED_MS && isAlive(Number(pid))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/**
 * Downloads a blob into a partial file of this process's own. A process that is downloading the
 * same waits are spared a second download; what a dead one left is gone on with.
 */
async function downloadBlob(blob: string, size: number, file: FileRequest): Promise<void> {
  while (partials(blob).some(({ alive }) => alive)) {
    await sleep(LOOK_AGAIN_MS, undefined, file.signal ? { signal: file.signal } : {})
    if (existsSync(blob)) return
  }
  const partial = partialName(blob)
  writing.add(partial)
  try {
    claim(blob, partial)
    await continueDownload(partial, size, file)
    if (!(await isContent(partial, basename(blob), size))) {
      await rm(partial, { force: true }) // it was begun by something else: once more from its start
      await continueDownload(partial, size, file)
      if (!(await isContent(partial, basename(blob), size))) {
        await rm(partial, { force: true })
        const { repo, path } = file
        throw new InputError(
          `${repo.name}: ${path}: its content is not what the hub says; try again`,
        )
      }
    }
    await rename(partial, blob)
  } finally {
    writing.delete(partial)
  }
}

/** Takes over the longest partial file that nobody writes; of two claimants one gets it. */
function claim(blob: string, mine: string): void {
  const left = partials(blob)
    .filter(({ alive }) => !alive)
    .map(({ path }) => ({ path, size: statSync(path, { throwIfNoEntry: false })?.size ?? 0 }))
    .sort((a, b) => b.size - a.size)
  for (const { path } of left) {
    try {
      renameSync(path, mine)
      return
    } catch {
      // another process was faster
    }
  }
}

/** Downloads the rest of a partial file, and reconnects as often as needed. */
async function continueDownload(partial: string, size: number, file: FileRequest): Promise<void> {
  const { repo, path, signal } = file
  const target = await open(partial, "a+")
  try {
    let bytes = (await target.stat()).size
    if (bytes > size) {
      await target.truncate(0)
      bytes = 0
    }
    for (let failures = 0; bytes < size; ) {
      const before = bytes
      try {
        for await (const chunk of bodyFrom(bytes, size, file, async () => {
          await target.truncate(0)
          bytes = 0
        })) {
          await target.appendFile(chunk)
          bytes += chunk.length
          file.onProgress?.({ file: path, bytes, totalBytes: size })
          if (bytes > size) {
            throw new InputError(
              `${repo.name}: ${path}: the hub says ${size} bytes and sends more; try again`,
            )
          }
        }
        if (bytes < size) throw new TypeError("the connection ended early")
      } catch (error) {
        failures = bytes > before ? 1 : failures + 1
        if (failures >= PATIENCE.attempts || signal?.aborted || !isPassing(error)) throw error
        await sleep(waitAfter(failures, PATIENCE), undefined, signal ? { signal } : {})
      }
    }
    await target.sync()
  } finally {
    await target.close()
  }
}

/**
 * Asks for the bytes from `from` up to `end`. `whole` is true where the server sends all of the
 * file instead.
 */
async function askForBytes(
  { repo, path, commit, request }: RemoteFile,
  from: number,
  end: number,
): Promise<{ readonly body: AsyncIterable<Uint8Array>; readonly whole: boolean }> {
  const { hubUrl, accessToken } = request
  const prefix = repo.type === "dataset" ? "datasets/" : ""
  const place = [repo.name, "resolve", commit, path].map((part) =>
    part.split("/").map(encodeURIComponent).join("/"),
  )
  const response = await request.fetch(`${hubUrl}/${prefix}${place.join("/")}`, {
    headers: {
      range: `bytes=${from}-${end - 1}`,
      ...(accessToken ? { authorization: `Bearer ${accessToken}` } : {}),
    },
  })
  if (!response.ok || response.body === null) {
    throw new InputError(`${repo.name}: ${path}: the hub answered ${response.status}; try again`)
  }
  const [, begin] = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "") ?? []
  const whole = response.status !== 206
  if (!whole && begin !== undefined && Number(begin) !== from) {
    await response.body.cancel()
    throw new InputError(`${repo.name}: ${path}: the hub sent another part of it; try again`)
  }
  return { body: response.body as unknown as AsyncIterable<Uint8Array>, whole }
}

/** Fills `target` from a place in a file of the hub. */
export async function readRange(
  file: RemoteFile,
  target: Uint8Array,
  position: number,
): Promise<void> {
  if (target.length === 0) return
  const end = position + target.length
  const { body, whole } = await askForBytes(file, position, end)
  const skipped = whole ? position : 0
  let at = -skipped
  for await (const chunk of body) {
    const from = Math.max(0, -at)
    const part = chunk.subarray(from, from + target.length - Math.max(0, at))
    if (part.length > 0) target.set(part, Math.max(0, at))
    at += chunk.length
    if (at >= target.length) break // the rest of a server that knows no ranges is not read
  }
  if (at < target.length) {
    throw new InputError(`${file.repo.name}: ${file.path}: the hub sent less than it says it has`)
  }
}

/** The bytes from `from` on; `anew` is called when the server sends all of them instead. */
async function* bodyFrom(
  from: number,
  size: number,
  { repo, path, commit, request }: FileRequest,
  anew: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  const { body, whole } = await askForBytes({ repo, path, commit, request }, from, size)
  if (whole && from > 0) await anew()
  yield* body
}

/**
 * Whether a file is what its ETag says: a SHA-256 (large files), git's hash of it (small ones; some
 * mirrors send the plain SHA-1), or, for other tags, as long as the hub says.
 */
export async function isContent(path: string, etag: string, size: number): Promise<boolean> {
  if (statSync(path).size !== size) return false
  if (/^[0-9a-f]{64}$/.test(etag)) return (await hashes(path, ["sha256", ""]))[0] === etag
  if (!/^[0-9a-f]{40}$/.test(etag)) return true
  return (await hashes(path, ["sha1", `blob ${size}\0`], ["sha1", ""])).includes(etag)
}

async function hashes(
  path: string,
  ...wanted: readonly (readonly [algorithm: string, before: string])[]
): Promise<string[]> {
  const all = wanted.map(([algorithm, before]) => createHash(algorithm).update(before))
  for await (const chunk of createReadStream(path)) {
    for (const hash of all) hash.update(chunk as Buffer)
  }
  return all.map((hash) => hash.digest("hex"))
}
