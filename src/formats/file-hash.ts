import { createHash } from "node:crypto"
import { openToRead, readError } from "./json-files.ts"

/**
 * SHA-256 of a file, in hexadecimal, read in pieces.
 *
 * @throws InputError when it is missing or unreadable, and for a device or pipe
 */
export async function fileHash(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256")
  const file = await openToRead(path)
  try {
    for await (const piece of file.createReadStream({ highWaterMark: 1 << 20, autoClose: false })) {
      signal?.throwIfAborted()
      hash.update(piece as Buffer)
    }
  } catch (error) {
    throw readError(error, path)
  } finally {
    await file.close()
  }
  return hash.digest("hex")
}
