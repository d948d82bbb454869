/** Model folders of a browser: files given by hand, a picked folder, an address. */
import { InputError } from "../errors.ts"
import { type ByteSource, bytesSource, type Folder } from "../formats/folder.ts"
import { type DownloadProgress, incoming, wholeBytes } from "./fetched-bytes.ts"

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

export function blobSource(path: string, blob: Blob): ByteSource {
  return {
    path,
    bytes: blob.size,
    async readInto(target, position) {
      const end = position + target.length
      if (end > blob.size) throw new InputError(`${path}: the file ended while it was read`)
      const bytes = await blob
        .slice(position, end)
        .arrayBuffer()
        .catch((error: unknown) => {
          throw new InputError(`${path}: could not be read (${(error as Error).message})`)
        })
      target.set(new Uint8Array(bytes))
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

/** What of a model's files may be there beside its config, tokenizer and weights. */
const OPTIONAL_FILES = [
  "tokenizer_config.json",
  "generation_config.json",
  "chat_template.jinja",
  "chat_template.json",
  "additional_chat_templates/tool_use.jinja",
] as const
const REQUIRED_FILES = ["config.json", "tokenizer.json"] as const
const WEIGHTS = "model.safetensors"

/**
 * A model folder that a server has. Weights (model.safetensors, or the shards that its index names)
 * are fetched when they are opened: a config can be looked at before.
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
  const path = url.replace(/\/$/, "")
  const fetched = new Map<string, Promise<Uint8Array | undefined>>()
  const take = (name: string) => {
    const known = fetched.get(name) ?? begin(name)
    fetched.set(name, known)
    return known
  }
  const begin = async (name: string) => {
    const file = await incoming(`${path}/${name}`, {
      signal,
      onProgress: (done, total) => onProgress?.(name, done, total),
    })
    return file && wholeBytes(file)
  }
  const names: string[] = []
  for (const name of REQUIRED_FILES) {
    if (!(await take(name))) throw new InputError(`${path}/${name}: there is no such file`)
    names.push(name)
  }
  for (const name of OPTIONAL_FILES) if (await take(name)) names.push(name)
  return {
    path,
    pathOf: (name) => `${path}/${name}`,
    names: async () => [...names, WEIGHTS],
    async open(name) {
      const isKnown = names.includes(name)
      const isWeights = /^model[\w.-]*\.safetensors(\.index\.json)?$/.test(name)
      const bytes = isKnown || isWeights ? await take(name) : undefined
      return bytes && bytesSource(`${path}/${name}`, bytes)
    },
  }
}
