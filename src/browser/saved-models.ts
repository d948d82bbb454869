/** Downloaded models, kept in the origin's own file system (OPFS). */
import { isObject, parseJson } from "../formats/json.ts"
import { blobSource } from "./folders.ts"

/** What is used of a directory handle of the File System API. */
export interface StoreDirectory {
  readonly name: string
  values(): AsyncIterable<StoreDirectory | StoreFile>
  getDirectoryHandle(name: string, options?: { create?: boolean }): Promise<StoreDirectory>
  getFileHandle(name: string, options?: { create?: boolean }): Promise<StoreFile>
  removeEntry(name: string, options?: { recursive?: boolean }): Promise<void>
}
export interface StoreFile {
  readonly kind: string
  readonly name: string
  getFile(): Promise<File>
  /** What is written takes the file's place when it is closed, whole or not at all. */
  createWritable(): Promise<{
    write(data: Uint8Array | string): Promise<void>
    close(): Promise<void>
    abort(): Promise<void>
  }>
}

export interface SavedModel {
  readonly id: string
  readonly bytes: number
  /** When it was last opened, in milliseconds since 1970. */
  readonly used: number
}

/**
 * A file's size, and the SHA-256 of each of its pieces: what it must still be when it is read
 * again.
 */
interface Seal {
  readonly bytes: number
  readonly pieces: readonly string[]
}

const PIECE_BYTES = 4 * 2 ** 20
const FOLDER = "dftune-models"
const NOTE = "model.note.json"
const SEAL = ".seal.json"

/** What a model's folder says of it: which commit was opened last, and its files. */
export interface ModelNote {
  readonly revision: string
  readonly commit: string
  readonly files: readonly { readonly path: string; readonly size: number }[]
  readonly used: number
}

export type Checked = (share: number) => void

export class SavedModels {
  readonly #root: () => Promise<StoreDirectory>

  /** `root` is the origin's own directory: `navigator.storage.getDirectory()`. */
  constructor(root: () => Promise<StoreDirectory>) {
    this.#root = root
  }

  /** undefined where this browser, or this page, has no file system of its own. */
  static here(): SavedModels | undefined {
    const { storage } = (globalThis as StorageScope).navigator ?? {}
    const canHash = globalThis.crypto?.subtle !== undefined // secure pages only
    if (!storage?.getDirectory || !canHash) return undefined
    return new SavedModels(() => storage.getDirectory!())
  }

  async list(): Promise<SavedModel[]> {
    const found: SavedModel[] = []
    for (const directory of await this.#models()) {
      const note = await this.note(decodeURIComponent(directory.name))
      const bytes = await bytesBelow(directory)
      found.push({ id: decodeURIComponent(directory.name), bytes, used: note?.used ?? 0 })
    }
    return found.sort((a, b) => b.used - a.used)
  }

  async delete(id: string): Promise<void> {
    const folder = await this.#folder()
    await folder.removeEntry(encodeURIComponent(id), { recursive: true }).catch(missing)
  }

  /**
   * Makes room for a download: models that were not opened for longest go first.
   *
   * @returns whether there is room now
   */
  async makeRoom(bytes: number, keep: string): Promise<boolean> {
    const others = (await this.list()).filter(({ id }) => id !== keep)
    for (;;) {
      if (bytes <= (await freeBytes())) return true
      const oldest = others.pop()
      if (!oldest) return false
      await this.delete(oldest.id)
    }
  }

  async note(id: string): Promise<ModelNote | undefined> {
    const directory = await this.#model(id, false)
    const text = await textOf(directory, NOTE)
    if (text === undefined) return undefined
    const note = jsonOf(text)
    return isObject(note) && Array.isArray(note.files) ? (note as unknown as ModelNote) : undefined
  }

  /** Notes what was opened; files of another commit of it go. */
  async setNote(id: string, note: ModelNote): Promise<void> {
    const directory = (await this.#model(id, true))!
    await write(directory, NOTE, [JSON.stringify(note)])
    const others: string[] = []
    for await (const entry of directory.values()) {
      if (isDirectory(entry) && entry.name !== note.commit) others.push(entry.name)
    }
    for (const name of others) await directory.removeEntry(name, { recursive: true }).catch(missing)
  }

  /**
   * A file as it was saved; undefined where it is not there, or is not any more what was saved: it
   * is then removed.
   */
  async open(
    id: string,
    commit: string,
    name: string,
    onChecked: Checked = () => {},
  ): Promise<File | undefined> {
    const directory = await this.#commit(id, commit, false)
    if (!directory) return undefined
    const key = encodeURIComponent(name)
    const seal = sealOf(await textOf(directory, key + SEAL))
    const file = await fileOf(directory, key)
    if (!seal || !file) return undefined
    if (await isWhole(file, seal, onChecked)) return file
    await directory.removeEntry(key).catch(missing)
    await directory.removeEntry(key + SEAL).catch(missing)
    return undefined
  }

  /** Saves a file as it comes: all of it, or nothing. undefined where the browser has no room. */
  async save(
    id: string,
    commit: string,
    name: string,
    pieces: AsyncIterable<Uint8Array>,
  ): Promise<File | undefined> {
    const directory = (await this.#commit(id, commit, true))!
    const key = encodeURIComponent(name)
    const sealer = new Sealer()
    try {
      await write(directory, key, sealer.through(pieces))
      await write(directory, key + SEAL, [JSON.stringify(await sealer.seal())])
    } catch (error) {
      if ((error as Error)?.name === "QuotaExceededError") return undefined
      throw error
    }
    return fileOf(directory, key)
  }

  async #folder(): Promise<StoreDirectory> {
    return (await this.#root()).getDirectoryHandle(FOLDER, { create: true })
  }

  async #models(): Promise<StoreDirectory[]> {
    const found: StoreDirectory[] = []
    for await (const entry of (await this.#folder()).values()) {
      if (isDirectory(entry)) found.push(entry)
    }
    return found
  }

  async #model(id: string, create: boolean): Promise<StoreDirectory | undefined> {
    const folder = await this.#folder()
    return folder.getDirectoryHandle(encodeURIComponent(id), { create }).catch(missing)
  }

  async #commit(id: string, commit: string, create: boolean) {
    return (await this.#model(id, create))?.getDirectoryHandle(commit, { create }).catch(missing)
  }
}

interface StorageScope {
  readonly navigator?: {
    readonly storage?: {
      getDirectory?(): Promise<StoreDirectory>
      estimate?(): Promise<{ readonly quota?: number; readonly usage?: number }>
    }
  }
}

/** What the browser still lets this origin keep, by its own estimate. */
async function freeBytes(): Promise<number> {
  const { storage } = (globalThis as StorageScope).navigator ?? {}
  const { quota = Number.POSITIVE_INFINITY, usage = 0 } = (await storage?.estimate?.()) ?? {}
  return quota - usage
}

const isDirectory = (entry: StoreDirectory | StoreFile): entry is StoreDirectory =>
  "getDirectoryHandle" in entry

/** What is not there (any more) is no fault; all else is. */
function missing(error: unknown): undefined {
  if ((error as Error)?.name === "NotFoundError") return undefined
  throw error
}

async function fileOf(directory: StoreDirectory | undefined, key: string) {
  const handle = await directory?.getFileHandle(key).catch(missing)
  return handle?.getFile()
}

async function textOf(directory: StoreDirectory | undefined, key: string) {
  return (await fileOf(directory, key))?.text()
}

async function bytesBelow(directory: StoreDirectory): Promise<number> {
  let bytes = 0
  for await (const entry of directory.values()) {
    bytes += isDirectory(entry) ? await bytesBelow(entry) : (await entry.getFile()).size
  }
  return bytes
}

async function write(
  directory: StoreDirectory,
  key: string,
  pieces: AsyncIterable<Uint8Array | string> | Iterable<string>,
): Promise<void> {
  const target = await (await directory.getFileHandle(key, { create: true })).createWritable()
  try {
    for await (const piece of pieces) await target.write(piece)
    await target.close()
  } catch (error) {
    await target.abort().catch(() => {}) // it may have failed by itself
    await directory.removeEntry(key).catch(missing)
    throw error
  }
}

function jsonOf(text: string): unknown {
  try {
    return parseJson(text, "a saved note")
  } catch {
    return undefined // damaged: as if it were not there
  }
}

function sealOf(text: string | undefined): Seal | undefined {
  const seal = text === undefined ? undefined : jsonOf(text)
  const isSeal = isObject(seal) && typeof seal.bytes === "number" && Array.isArray(seal.pieces)
  return isSeal ? (seal as unknown as Seal) : undefined
}

async function digest(bytes: Uint8Array): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>)
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("")
}

async function isWhole(file: File, seal: Seal, onChecked: Checked): Promise<boolean> {
  if (file.size !== seal.bytes) return false
  const source = blobSource(file.name, file)
  for (const [i, wanted] of seal.pieces.entries()) {
    const at = i * PIECE_BYTES
    const piece = new Uint8Array(Math.min(PIECE_BYTES, seal.bytes - at))
    await source.readInto(piece, at)
    if ((await digest(piece)) !== wanted) return false
    onChecked((at + piece.length) / seal.bytes)
  }
  return seal.pieces.length === Math.ceil(seal.bytes / PIECE_BYTES)
}

/** Hands bytes on, and keeps the digest of each piece of PIECE_BYTES. */
class Sealer {
  readonly #pieces: string[] = []
  readonly #piece = new Uint8Array(PIECE_BYTES)
  #filled = 0
  #bytes = 0

  async *through(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const bytes of pieces) {
      for (let at = 0; at < bytes.length; ) {
        const part = bytes.subarray(at, at + PIECE_BYTES - this.#filled)
        this.#piece.set(part, this.#filled)
        this.#filled += part.length
        at += part.length
        if (this.#filled === PIECE_BYTES) await this.#end()
      }
      this.#bytes += bytes.length
      yield bytes
    }
  }

  async seal(): Promise<Seal> {
    if (this.#filled > 0) await this.#end()
    return { bytes: this.#bytes, pieces: this.#pieces }
  }

  async #end(): Promise<void> {
    this.#pieces.push(await digest(this.#piece.subarray(0, this.#filled)))
    this.#filled = 0
  }
}
