import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"

/** SHA-256 of a file, in hexadecimal, read in pieces. */
export async function fileHash(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256")
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) {
    signal?.throwIfAborted()
    hash.update(piece as Buffer)
  }
  return hash.digest("hex")
}
