import { createHash } from "node:crypto"
import { closeSync, readdirSync, readSync, statSync } from "node:fs"
import { basename, join } from "node:path"
import { openPlainFile } from "../../formats/plain-file.ts"
import { addedTokensOf } from "./extended-model.ts"
import { ggufFileOf } from "./gguf-model.ts"

const PIECES = 64
const PIECE_BYTES = 4096

/**
 * SHA-256 over the sizes of a model folder's weight files and 64 pieces of each, the first with
 * the header: tells models apart in milliseconds, whatever their size. No proof against malice.
 */
export function weightsHash(folder: string): string {
  const added = addedTokensOf(folder)
  if (added !== undefined) {
    const of = `${weightsHash(added.base)}\0${added.ids.join()}`
    return createHash("sha256").update(of).digest("hex")
  }
  const hash = createHash("sha256")
  const gguf = ggufFileOf(folder)
  const weights = /\.(safetensors|gguf)$/
  const names = readdirSync(folder).filter((name) => weights.test(name))
  const files = names.sort().map((name) => join(folder, name))
  for (const path of gguf === undefined ? files : [gguf]) {
    const name = basename(path)
    const { size } = statSync(path)
    hash.update(`${name}\0${size}\0`)
    const file = openPlainFile(path)
    try {
      const piece = Buffer.alloc(PIECE_BYTES)
      for (let i = 0; i < PIECES; i++) {
        const at = Math.floor((i * Math.max(0, size - PIECE_BYTES)) / (PIECES - 1))
        hash.update(piece.subarray(0, readSync(file, piece, 0, PIECE_BYTES, at)))
      }
    } finally {
      closeSync(file)
    }
  }
  return hash.digest("hex")
}
