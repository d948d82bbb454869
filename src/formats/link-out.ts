import { realpathSync } from "node:fs"
import { dirname, join } from "node:path"
import { InputError } from "../errors.ts"

/** Of the files read as text: their content may be quoted in a message, or copied into a result. */
const TEXT_FILE = /\.(json|jinja|txt|model)$/i

/** Whether a file of a model's folder is one that messages quote. */
export const isTextFile = (name: string): boolean => TEXT_FILE.test(name)

/**
 * Refuses a file of a model's folder that is a link to another place: a folder is passed on, and
 * what its links lead to may be anybody's. The hub's cache links from a snapshot to the blobs
 * beside it: those are the model's own.
 *
 * @param name of a file that is there, in the folder or in a folder of it
 * @throws InputError naming the link and where it leads, and nothing of what is there
 */
export function refuseLinkOut(folder: string, name: string): void {
  const path = join(folder, name)
  const [target, own] = [realpathSync(path), realpathSync(folder)]
  if ([own, dirname(join(own, name))].includes(dirname(target))) return
  if (dirname(target) === blobsOf(own)) return
  throw new InputError(
    `${path}: is a link to ${target}, outside of the model's folder; put the file itself there`,
  )
}

function blobsOf(snapshot: string): string | undefined {
  try {
    return realpathSync(join(snapshot, "..", "..", "blobs"))
  } catch {
    return undefined
  }
}
