/** Files that a person gives to the page: dropped, or picked. */
import type { DirectoryHandle } from "../../../src/browser/folders.ts"

/** A folder's own files; those of folders below it are not a model's. */
export interface GivenFolder {
  readonly name: string
  readonly files: readonly File[]
}

/** A dropped folder, or dropped files of one. Must be asked for while the event is handled. */
export function droppedFolder(transfer: DataTransfer): Promise<GivenFolder> {
  const loose = [...transfer.files]
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.())
  const folder = entries.find((entry) => entry?.isDirectory) as FileSystemDirectoryEntry | undefined
  return folder ? entriesOf(folder) : Promise.resolve({ name: "dropped", files: loose })
}

async function entriesOf(folder: FileSystemDirectoryEntry): Promise<GivenFolder> {
  const reader = folder.createReader()
  const files: File[] = []
  for (;;) {
    // A browser gives a hundred at a time, and none when all are told.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    )
    if (some.length === 0) return { name: folder.name, files }
    for (const entry of some) {
      if (!entry.isFile) continue
      const file = entry as FileSystemFileEntry
      files.push(await new Promise<File>((resolve, reject) => file.file(resolve, reject)))
    }
  }
}

/** What `<input webkitdirectory>` lists: all files below the folder. */
export function pickedFolder(list: FileList | null): GivenFolder | undefined {
  const [first] = list ?? []
  if (!first) return undefined
  const isOwn = ({ webkitRelativePath }: File) => webkitRelativePath.split("/").length <= 2
  const name = first.webkitRelativePath.split("/")[0] || "picked"
  return { name, files: [...list!].filter(isOwn) }
}

interface PickingWindow {
  showDirectoryPicker?(options: { mode: "read" | "readwrite" }): Promise<WritableDirectory>
}
export interface WritableDirectory extends DirectoryHandle {
  values(): AsyncIterable<FileSystemHandle>
  getFileHandle(name: string, options?: { create: boolean }): Promise<FileSystemFileHandle>
  getDirectoryHandle(name: string, options?: { create: boolean }): Promise<WritableDirectory>
}

/** Whether the browser opens folders of this computer for a page (File System Access). */
export const canOpenFolders = () => "showDirectoryPicker" in window

/** A folder that the person chooses; undefined when the choice is called off. */
export async function chosenFolder(
  mode: "read" | "readwrite",
): Promise<WritableDirectory | undefined> {
  try {
    return await (window as PickingWindow).showDirectoryPicker!({ mode })
  } catch (error) {
    if ((error as Error).name === "AbortError") return undefined
    throw error
  }
}

export async function filesOf(directory: WritableDirectory): Promise<GivenFolder> {
  const files: File[] = []
  for await (const entry of directory.values()) {
    if (entry.kind === "file") files.push(await (entry as FileSystemFileHandle).getFile())
  }
  return { name: directory.name, files }
}

export async function writeFiles(
  directory: WritableDirectory,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  for (const [name, bytes] of files) {
    const target = await (await directory.getFileHandle(name, { create: true })).createWritable()
    await target.write(bytes as Uint8Array<ArrayBuffer>)
    await target.close()
  }
}

/** Rows are read whole, and shown up to a length that a text box bears. */
const MOST_BYTES = 50e6
export const SHOWN_CHARACTERS = 500_000

/** @throws in words, where the file is no text of rows */
export async function rowsText(file: File): Promise<string> {
  if (file.size > MOST_BYTES) {
    const megabytes = Math.round(file.size / 1e6)
    throw new Error(
      `${file.name}: a tab takes rows of up to 50 MB, got ${megabytes} MB; give a part of it`,
    )
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer())
  } catch {
    throw new Error(
      `${file.name}: expected text, a JSON value a line or a JSON list, got something that is not UTF-8`,
    )
  }
}
