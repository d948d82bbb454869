/** Model folders of a browser: files given by hand, a picked folder, an address, the hub. */
import { InputError } from "../errors.ts"
import { type ByteSource, type Folder, memoryFolder } from "../formats/folder.ts"
import { joined } from "./bytes.ts"

/** How far a download is. */
export type DownloadProgress = (file: string, bytes: number, total: number | undefined) => void

/** What of a model's files is read: nothing else of a folder is fetched. */
const MODEL_FILES = {
  required: ["config.json", "tokenizer.json"],
  optional: [
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates/tool_use.jinja",
  ],
} as const
const WEIGHTS = "model.safetensors"

/** Files that were dropped or picked, by their names; each is read by ranges, none whole. */
export function fileFolder(path: string, files: readonly File[]): Folder {
  const byName = new Map(files.map((file) => [file.name, file]))
  const pathOf = (name: string) => `${path}/${name}`
  return {
    path,
    pathOf,
    names: async () => [...byName.keys()],
    async open(name) {
      const file = byName.get(name)
      return file && blobSource(pathOf(name), file)
    },
  }
}

function blobSource(path: string, blob: Blob): ByteSource {
  return {
    path,
    bytes: blob.size,
    async readInto(target, position) {
      const end = position + target.length
      if (end > blob.size) throw new InputError(`${path}: the file ended while it was read`)
      target.set(new Uint8Array(await blob.slice(position, end).arrayBuffer()))
    },
    close: async () => {},
  }
}

/** A folder that a page was given through the File System Access API. */
export interface DirectoryHandle {
  readonly name: string
  values(): AsyncIterable<{ readonly kind: string; readonly name: string }>
  getFileHandle(name: string): Promise<{ getFile(): Promise<File> }>
}

/** A picked folder (`showDirectoryPicker`) or one of the origin's own file system (OPFS). */
export async function directoryFolder(handle: DirectoryHandle): Promise<Folder> {
  const files: File[] = []
  for await (const { kind, name } of handle.values()) {
    if (kind === "file") files.push(await (await handle.getFileHandle(name)).getFile())
  }
  return fileFolder(handle.name, files)
}

/**
 * A model folder that a server has, its weights in one model.safetensors, fetched whole.
 *
 * @param url of the folder, with or without "/" at its end
 * @throws InputError naming the file that could not be fetched
 */
export async function fetchedFolder(
  url: string,
  {
    onProgress,
    signal,
  }: { readonly onProgress?: DownloadProgress; readonly signal?: AbortSignal } = {},
): Promise<Folder> {
  const base = url.endsWith("/") ? url : `${url}/`
  const files = new Map<string, Uint8Array>()
  const take = async (name: string, required: boolean) => {
    const bytes = await fetched(`${base}${name}`, {
      required,
      ...(signal ? { signal } : {}),
      onProgress: (done, total) => onProgress?.(name, done, total),
    })
    if (bytes) files.set(name, bytes)
  }
  for (const name of MODEL_FILES.required) await take(name, true)
  for (const name of MODEL_FILES.optional) await take(name, false)
  await take(WEIGHTS, true)
  return memoryFolder(base.slice(0, -1), files)
}

const HUB = "https://huggingface.co"
const HUB_ID = /^[\w.-]{1,96}\/[\w.-]{1,96}$/

/**
 * A model of the hub, by its id ("HuggingFaceTB/SmolLM2-135M-Instruct").
 *
 * @throws InputError for what is no id, and naming a file that could not be fetched
 */
export function hubFolder(
  id: string,
  options: { readonly onProgress?: DownloadProgress; readonly signal?: AbortSignal } = {},
): Promise<Folder> {
  if (!HUB_ID.test(id)) {
    throw new InputError(`expected a hub id such as owner/name, got ${JSON.stringify(id)}`)
  }
  return fetchedFolder(`${HUB}/${id}/resolve/main`, options)
}

async function fetched(
  url: string,
  {
    required,
    signal,
    onProgress,
  }: {
    readonly required: boolean
    readonly signal?: AbortSignal
    readonly onProgress: (bytes: number, total: number | undefined) => void
  },
): Promise<Uint8Array | undefined> {
  const response = await fetch(url, signal ? { signal } : {}).catch((error: unknown) => {
    signal?.throwIfAborted()
    throw new InputError(`${url}: could not be fetched (${(error as Error).message})`)
  })
  // A server of single pages answers what it does not have with its page.
  const isPage = response.headers.get("content-type")?.startsWith("text/html") ?? false
  if (!response.ok || isPage) {
    await response.body?.cancel()
    const missing = response.status === 404 || isPage
    if (missing && !required) return undefined
    const why = missing ? "there is no such file" : `the server answered ${response.status}`
    throw new InputError(`${url}: ${why}`)
  }
  const length = Number(response.headers.get("content-length"))
  // With a content encoding the length is that of the packed bytes.
  const total = response.headers.get("content-encoding") || !length ? undefined : length
  return read(response, total, onProgress)
}

async function read(
  response: Response,
  total: number | undefined,
  onProgress: (bytes: number, total: number | undefined) => void,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let bytes = 0
  const reader = response.body!.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return joined(pieces)
    pieces.push(value)
    bytes += value.length
    onProgress(bytes, total)
  }
}
