import { type FileHandle, readdir, stat } from "node:fs/promises"
import { join } from "node:path"
import { prefault } from "../runtime/native/c-library.ts"
import { readInto } from "./file-bytes.ts"
import type { ByteSource, Folder } from "./folder.ts"
import { openToRead, readError } from "./json-files.ts"
import { isTextFile, refuseLinkOut } from "./link-out.ts"

/** @throws InputError naming the file when it is missing or cannot be read */
export async function openFile(path: string): Promise<ByteSource> {
  return sourceOf(await openToRead(path), path)
}

async function sourceOf(handle: FileHandle, path: string): Promise<ByteSource> {
  try {
    const { size } = await handle.stat()
    return {
      path,
      bytes: size,
      async readInto(target, position) {
        await readInto(handle, target, position, path).catch((error: unknown) => {
          throw readError(error, path)
        })
      },
      prefault,
      close: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw readError(error, path)
  }
}

const MISSING: readonly unknown[] = ["ENOENT", "ENOTDIR"]

/** A model's folder on this machine's disk. A text of it that is a link to elsewhere is refused. */
export function diskFolder(path: string): Folder {
  const pathOf = (name: string) => join(path, name)
  return {
    path,
    pathOf,
    names: () => readdir(path).catch(() => []),
    async open(name) {
      const file = pathOf(name)
      try {
        await stat(file)
      } catch (error) {
        if (MISSING.includes((error as NodeJS.ErrnoException | null)?.code)) return undefined
        throw readError(error, file)
      }
      if (isTextFile(name)) refuseLinkOut(path, name)
      return sourceOf(await openToRead(file), file)
    },
  }
}
