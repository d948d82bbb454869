/**
 * SmolVLM's and Idefics 3's pictures: tiles of one size, row by row, then the whole in one tile.
 */
import type { Size } from "./picture.ts"

export interface SmolSettings {
  readonly longestEdge: number
  readonly tileEdge: number
  /** Whether a picture larger than a tile is cut into tiles. */
  readonly splits: boolean
  readonly tokensOfTile: number
}

const FAKE = "<fake_token_around_image>"
const WHOLE = "<global-img>"
/** Transformers makes no picture larger than this. */
const MOST_EDGE = 4096

/** As `get_image_prompt_string` of Transformers' processing_smolvlm.py writes it. */
export function smolExpansion(settings: SmolSettings, size: Size, imageToken: string): string {
  const tile = imageToken.repeat(settings.tokensOfTile)
  const [rows, columns] = tilesOf(settings, size)
  const whole = `${FAKE}${WHOLE}${tile}${FAKE}`
  if (rows === 0) return whole
  const lines = Array.from({ length: rows }, (_, r) =>
    Array.from({ length: columns }, (_, c) => `${FAKE}<row_${r + 1}_col_${c + 1}>${tile}`).join(""),
  )
  return `${lines.map((line) => `${line}\n`).join("")}\n${whole}`
}

/** Rows and columns of tiles; none where the whole picture is one tile. */
function tilesOf({ longestEdge, tileEdge, splits }: SmolSettings, size: Size): [number, number] {
  if (!splits) return [0, 0]
  let [height, width] = bounded(scaled(size, longestEdge))
  const aspect = width / height
  const filled = (side: number) => Math.ceil(side / tileEdge) * tileEdge
  if (width >= height) {
    width = filled(width)
    height = filled(Math.trunc(width / aspect))
  } else {
    height = filled(height)
    width = filled(Math.trunc(height * aspect))
  }
  if (height <= tileEdge && width <= tileEdge) return [0, 0]
  const count = (side: number) => Math.floor((side - tileEdge) / tileEdge) + 1
  return [count(height), count(width)]
}

/** The longer side as long as asked, the other even. */
function scaled({ width, height }: Size, edge: number): [height: number, width: number] {
  const aspect = width / height
  const even = (side: number) => Math.max(1, side % 2 === 0 ? side : side + 1)
  return width >= height
    ? [even(Math.trunc(edge / aspect)), edge]
    : [edge, even(Math.trunc(edge * aspect))]
}

function bounded([height, width]: [number, number]): [height: number, width: number] {
  const aspect = width / height
  if (width >= height && width > MOST_EDGE)
    return [Math.max(1, Math.trunc(MOST_EDGE / aspect)), MOST_EDGE]
  if (height > width && height > MOST_EDGE)
    return [MOST_EDGE, Math.max(1, Math.trunc(MOST_EDGE * aspect))]
  return [height, width]
}
