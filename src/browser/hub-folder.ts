import { InputError } from "../errors.ts"
import { bytesSource, type Folder } from "../formats/folder.ts"
import { isObject, parseJson } from "../formats/json.ts"
import { isHubId, MODEL_FILES } from "../hub/names.ts"
import { type DownloadProgress, incoming, wholeBytes } from "./fetched-bytes.ts"
import { blobSource } from "./folders.ts"
import { type ModelNote, SavedModels } from "./saved-models.ts"

export interface HubFolderOptions {
  /** Branch, tag or commit. */
  readonly revision?: string
  /** Where the hub is. */
  readonly endpoint?: string
  /**
   * Where downloads are kept; null keeps none. Left out: this page's own file system, if it has
   * one.
   */
  readonly saved?: SavedModels | null
  readonly onProgress?: DownloadProgress
  /** A saved file is read once more before it is used: how much of it (0 to 1) is found whole. */
  readonly onChecked?: (file: string, share: number) => void
  readonly signal?: AbortSignal
}

const HUB = "https://huggingface.co"
const REVISION = /^[\w-][\w.-]{0,95}(\/[\w-][\w.-]{0,95})*$/
const COMMIT = /^[0-9a-f]{40}$/

/**
 * A model of the hub, by its id ("HuggingFaceTB/SmolLM2-135M-Instruct"). Files are fetched when
 * they are opened, and kept: a second opening fetches none. One that is not what was saved any more
 * is fetched again. Without a network the copy of the last opening is used.
 *
 * @throws InputError for what is no id, and naming a file that could not be fetched
 */
export async function hubFolder(id: string, options: HubFolderOptions = {}): Promise<Folder> {
  const { saved = SavedModels.here() ?? null, endpoint = HUB, onChecked, onProgress } = options
  const { revision = "main", signal } = options
  if (!isHubId(id) || !id.includes("/")) {
    throw new InputError(`expected a hub id such as owner/name, got ${JSON.stringify(id)}`)
  }
  if (!REVISION.test(revision)) {
    throw new InputError(`${id}: expected a branch, tag or commit, got ${JSON.stringify(revision)}`)
  }
  const { files, commit } = await contents(id, revision, endpoint, saved, signal)
  const sizes = new Map(files.map(({ path, size }) => [path, size]))
  const opened = new Map<string, ReturnType<typeof open>>()
  const fetched = async (name: string) => {
    const bytes = sizes.get(name)!
    const url = `${endpoint}/${id}/resolve/${commit}/${name}`
    const onBytes = (done: number) => onProgress?.(name, done, bytes)
    const file = await incoming(url, { signal, onProgress: onBytes })
    if (!file) throw new InputError(`${url}: there is no such file, though the hub lists it`)
    return { bytes, pieces: () => ofSize(file.pieces(), bytes, url) }
  }
  const open = (name: string) =>
    alone(`${id}/${name}`, async () => {
      const path = `${id}/${name}`
      const bytes = sizes.get(name)!
      const kept = await saved?.open(id, commit, name, (share) => onChecked?.(name, share))
      if (kept?.size === bytes) return blobSource(path, kept)
      if (saved && (await saved.makeRoom(bytes, id))) {
        const file = await saved.save(id, commit, name, (await fetched(name)).pieces())
        if (file) return blobSource(path, file)
      }
      return bytesSource(path, await wholeBytes(await fetched(name)))
    })
  return {
    path: id,
    pathOf: (name) => `${id}/${name}`,
    names: async () => [...sizes.keys()],
    async open(name) {
      if (!sizes.has(name)) return undefined
      const known = opened.get(name) ?? open(name)
      opened.set(name, known)
      return known
    },
  }
}

interface LockScope {
  readonly navigator?: {
    readonly locks?: { request<T>(name: string, work: () => Promise<T>): Promise<T> }
  }
}

/** Of several tabs that want the same file, one fetches it and the others find it saved. */
function alone<T>(path: string, work: () => Promise<T>): Promise<T> {
  const { locks } = (globalThis as LockScope).navigator ?? {}
  return locks ? locks.request(`dftune ${path}`, work) : work()
}

/** A model's files, as the hub lists them now; without a network as it did last. */
async function contents(
  id: string,
  revision: string,
  endpoint: string,
  saved: SavedModels | null,
  signal: AbortSignal | undefined,
): Promise<ModelNote> {
  const url = `${endpoint}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`
  const response = await fetch(url, signal ? { signal } : {}).catch((error: unknown) => {
    signal?.throwIfAborted()
    return error as Error
  })
  if (response instanceof Error || response.status >= 500) {
    const last = await saved?.note(id)
    if (last && [last.revision, last.commit].includes(revision)) return last
    const why = response instanceof Error ? response.message : `it answered ${response.status}`
    throw new InputError(
      `${id}: the hub (${endpoint}) cannot be reached, and no copy is saved (${why})`,
    )
  }
  if (!response.ok) {
    await response.body?.cancel()
    const why =
      response.status === 401 || response.status === 403 || response.status === 404
        ? `has no public model of this name and revision (${revision}); it may be private or ask for consent, which a tab cannot give`
        : `answered ${response.status}`
    throw new InputError(`${id}: the hub ${why}`)
  }
  const listed = listing(await response.text(), id)
  const note = { ...listed, revision, used: Date.now() }
  // Keeping is an extra: a browser that cannot save still trains.
  await saved?.setNote(id, note).catch(() => {})
  return note
}

/** @throws InputError for an answer that is no model's list of files */
function listing(text: string, id: string): Pick<ModelNote, "commit" | "files"> {
  const json = parseJson(text, `the hub's answer about ${id}`)
  const { sha, siblings } = isObject(json) ? json : {}
  if (typeof sha !== "string" || !COMMIT.test(sha) || !Array.isArray(siblings)) {
    throw new InputError(`${id}: the hub's answer names no commit and files`)
  }
  const files = siblings.flatMap((file: unknown) => {
    const { rfilename: path, size } = isObject(file) ? file : {}
    if (typeof path !== "string" || !MODEL_FILES.test(path)) return []
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
      throw new InputError(`${id}: the hub gives ${path} no size`)
    }
    return [{ path, size }]
  })
  return { commit: sha, files }
}

/** @throws InputError where more or less comes than the hub said */
async function* ofSize(
  pieces: AsyncIterable<Uint8Array>,
  bytes: number,
  url: string,
): AsyncGenerator<Uint8Array> {
  let come = 0
  for await (const piece of pieces) {
    come += piece.length
    if (come > bytes) break
    yield piece
  }
  if (come !== bytes) {
    throw new InputError(
      `${url}: expected ${bytes} bytes, as the hub says, got ${come > bytes ? "more" : come}`,
    )
  }
}
