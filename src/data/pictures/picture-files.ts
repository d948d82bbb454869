/** Pictures on disk: found inside the data file's folder, measured before anything decodes them. */
import { createHash } from "node:crypto"
import { mkdirSync, readFileSync, realpathSync, type Stats, statSync } from "node:fs"
import { dirname, join, resolve, sep } from "node:path"
import { imageSize } from "image-size"
import { InputError } from "../../errors.ts"
import { replaceFileNow } from "../../formats/atomic.ts"
import { statOf } from "../../host/stat.ts"
import type { Tokenizer } from "../../text/index.ts"
import type { PictureReader, PictureSource, Size } from "./picture.ts"
import { expansion, type PictureProcessor } from "./processors.ts"

/** A picture's file; a photograph takes a tenth of it. */
const MAX_BYTES = 64 * 2 ** 20
/** What a small file may unpack to: 200 MB in memory. */
const MAX_PIXELS = 2 ** 26
/** What Pillow opens wherever it is installed. */
const TYPES = ["png", "jpg", "gif", "webp", "bmp", "tiff"]

export interface PictureSettings {
  readonly processor: PictureProcessor
  /** Larger ones are made smaller before the model's processor sees them; null: none is. */
  readonly maxPixels: number | null
  /** Folder for pictures that came as bytes. */
  readonly store: string
}

export function pictureReader(
  { processor, maxPixels, store }: PictureSettings,
  tokenizer: Tokenizer,
): PictureReader {
  const placeholder = processor.imageTokenId
  const imageToken = tokenizer.tokenText(placeholder)
  if (!tokenizer.addedTokens.has(placeholder)) {
    throw new InputError(
      `config.json: "image_token_id" ${placeholder} (${imageToken}) is no added token of the tokenizer`,
    )
  }
  const known = new Map<string, readonly number[]>()
  return {
    placeholder,
    read(source, file) {
      const { path, bytes, sha256, stats } = fileOf(source, file, store)
      const size = upright(bytes, path)
      return {
        path,
        sha256,
        size: stats.size,
        mtimeMs: Math.trunc(stats.mtimeMs),
        ...bounded(size, maxPixels),
      }
    },
    tokenIds({ width, height }) {
      const key = `${width}x${height}`
      const ids =
        known.get(key) ?? tokenizer.encode(expansion(processor, { width, height }, imageToken))
      known.set(key, ids)
      return ids
    },
  }
}

function fileOf(source: PictureSource, file: string, store: string) {
  if (source.kind === "bytes") {
    checkLength(source.bytes.length, "a picture's bytes")
    const sha256 = sha256Of(source.bytes)
    const path = join(store, sha256)
    keepBytes(source.bytes, path)
    return { path, bytes: source.bytes, sha256, stats: statSync(path) }
  }
  if (source.kind === "next") throw new InputError("a picture without a name or bytes")
  const path = inside(source.path, file)
  const stats = found(path, source.path)
  if (!stats.isFile()) throw new InputError(`picture ${source.path}: is no file`)
  checkLength(stats.size, `picture ${source.path}`)
  const bytes = readFileSync(path)
  return { path, bytes, sha256: sha256Of(bytes), stats }
}

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

/** Bytes under the name of their hash, where the worker finds them. */
function keepBytes(bytes: Uint8Array, path: string): void {
  if (statOf(path)?.size === bytes.length) return
  mkdirSync(dirname(path), { recursive: true })
  replaceFileNow(path, bytes)
}

/**
 * The real path, links followed. @throws InputError where it leads out of the data file's folder
 */
function inside(name: string, file: string): string {
  const folder = realpathSync(dirname(resolve(file)))
  const path = resolve(folder, name)
  let real: string
  try {
    real = realpathSync(path)
  } catch {
    real = path // it is not there: where it would be is looked at, and that it is missing is told
  }
  if (![path, real].every((one) => one.startsWith(folder + sep))) {
    throw new InputError(
      `picture ${name}: leads out of the data file's folder ${folder}; put pictures beside the file, or into a folder there`,
    )
  }
  return real
}

function found(path: string, name: string): Stats {
  const stats = statOf(path)
  if (stats !== undefined) return stats
  throw new InputError(`picture ${name}: there is no such file (${path})`)
}

function checkLength(bytes: number, what: string): void {
  if (bytes <= MAX_BYTES) return
  throw new InputError(
    `${what}: expected at most ${MAX_BYTES / 2 ** 20} MB, got ${Math.ceil(bytes / 2 ** 20)} MB`,
  )
}

/** Width and height as one sees it: a camera's turned picture is turned back. */
function upright(bytes: Uint8Array, path: string): Size {
  let told: ReturnType<typeof imageSize>
  try {
    told = imageSize(bytes)
  } catch {
    throw new InputError(`picture ${path}: is no picture of a known kind (${TYPES.join(", ")})`)
  }
  const { width, height, type = "", orientation = 1 } = told
  if (!TYPES.includes(type)) {
    throw new InputError(`picture ${path}: is ${type}, expected one of ${TYPES.join(", ")}`)
  }
  if (!(width > 0 && height > 0 && width * height <= MAX_PIXELS)) {
    throw new InputError(
      `picture ${path}: says that it is ${width}x${height}; expected 1 to ${MAX_PIXELS} pixels`,
    )
  }
  return orientation >= 5 ? { width: height, height: width } : { width, height }
}

function bounded({ width, height }: Size, maxPixels: number | null): Size {
  if (maxPixels === null || width * height <= maxPixels) return { width, height }
  const scale = Math.sqrt(maxPixels / (width * height))
  const scaled = (side: number) => Math.max(1, Math.floor(side * scale))
  return { width: scaled(width), height: scaled(height) }
}
