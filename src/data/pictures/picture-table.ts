/**
 * `pictures.jsonl` of a prepared folder: which pictures its rows have, and where their tokens
 * stand.
 */
import { createHash } from "node:crypto"
import { createReadStream, statSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { InputError } from "../../errors.ts"
import { fileHash, writeFileAtomic } from "../../formats/index.ts"
import type { PlacedPicture } from "./picture.ts"

export const PICTURES_FILE = "pictures.jsonl"

/** One line: the pictures of a row, which is known by its source's number and its line there. */
interface TableLine {
  readonly source: number
  readonly line: number
  readonly pictures: readonly {
    readonly path: string
    readonly sha256: string
    readonly size: number
    readonly mtime_ms: number
    readonly width: number
    readonly height: number
    readonly at: number
    readonly tokens: number
  }[]
}

type RowsPictures = readonly (readonly [line: number, pictures: readonly PlacedPicture[]])[]

/** Collects them while rows are prepared. */
export function pictureTable() {
  const lines: string[] = []
  const hash = createHash("sha256")
  return {
    add(source: number, rows: RowsPictures): void {
      for (const [line, pictures] of rows) {
        for (const { sha256 } of pictures) hash.update(hashedLine(lines.length, sha256))
        const told: TableLine = {
          source,
          line,
          pictures: pictures.map(({ mtimeMs, ...rest }) => ({ ...rest, mtime_ms: mtimeMs })),
        }
        lines.push(`${JSON.stringify(told)}\n`)
      }
    },
    /** What the rows are, with their pictures. */
    hashWith(rows: string): string {
      return lines.length === 0 ? rows : hashOfBoth(rows, hash.copy().digest("hex"))
    },
    async write(dir: string): Promise<{ readonly pictures_sha256?: string }> {
      if (lines.length === 0) return {}
      const path = join(dir, PICTURES_FILE)
      await writeFileAtomic(path, lines.join(""))
      return { pictures_sha256: await fileHash(path) }
    },
  }
}

/**
 * What goes into a hash of pictures: the row's place among those that have any, and the content.
 */
const hashedLine = (row: number, sha256: string) => `${row} ${sha256}\n`

const hashOfBoth = (rows: string, pictures: string) =>
  createHash("sha256").update(`${rows} ${pictures}`).digest("hex")

/**
 * The same of a prepared folder: what the pictures show counts, not where and since when they lie.
 */
export async function hashWithPictures(rows: string, dir: string): Promise<string> {
  const hash = createHash("sha256")
  let row = 0
  for await (const { pictures } of storedLines(dir)) {
    for (const { sha256 } of pictures) hash.update(hashedLine(row, sha256))
    row++
  }
  return hashOfBoth(rows, hash.digest("hex"))
}

/**
 * In words, the first picture whose file is another than when the rows were prepared, by a table
 * that is whole.
 */
export async function changedPicture(
  dir: string,
  { pictures_sha256 }: { readonly pictures_sha256?: string },
): Promise<string | undefined> {
  if (pictures_sha256 === undefined) return undefined
  for await (const { pictures } of storedLines(dir)) {
    for (const { path: picture, size, mtime_ms } of pictures) {
      const stats = statSync(picture, { throwIfNoEntry: false })
      if (stats?.size !== size || Math.trunc(stats.mtimeMs) !== mtime_ms)
        return `${picture}: is another picture than the one that was prepared`
    }
  }
  return undefined
}

async function* storedLines(dir: string): AsyncGenerator<TableLine> {
  const path = join(dir, PICTURES_FILE)
  const input = createReadStream(path)
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }))
    yield parsed(line, path)
}

function parsed(line: string, path: string): TableLine {
  try {
    return JSON.parse(line) as TableLine
  } catch {
    throw new InputError(`${path}: damaged; delete the folder and prepare the data again`)
  }
}
