/** Qwen2-VL's pictures: one token for each square of patches, whatever the picture's size. */
import { InputError } from "../../errors.ts"
import type { Size } from "./picture.ts"

export interface QwenSettings {
  readonly patchSize: number
  readonly mergeSize: number
  readonly minPixels: number
  readonly maxPixels: number
}

const MOST_ASPECT = 200

/**
 * Transformers' `smart_resize` (image_processing_qwen2_vl.py): sides that patches fill, of about
 * the same aspect.
 */
export function qwenExpansion(settings: QwenSettings, size: Size, imageToken: string): string {
  const { patchSize, mergeSize, minPixels, maxPixels } = settings
  const { width, height } = size
  if (Math.max(width, height) / Math.min(width, height) > MOST_ASPECT) {
    throw new InputError(
      `a picture of ${width}x${height} is more than ${MOST_ASPECT} times as long as it is wide, which the model does not read`,
    )
  }
  const factor = patchSize * mergeSize
  const sides = [height, width]
  let fitted = sides.map((side) => roundHalfEven(side / factor) * factor)
  const area = fitted[0]! * fitted[1]!
  if (area > maxPixels) {
    const beta = Math.sqrt((height * width) / maxPixels)
    fitted = sides.map((side) => Math.max(factor, Math.floor(side / beta / factor) * factor))
  } else if (area < minPixels) {
    const beta = Math.sqrt(minPixels / (height * width))
    fitted = sides.map((side) => Math.ceil((side * beta) / factor) * factor)
  }
  return imageToken.repeat((fitted[0]! / factor) * (fitted[1]! / factor))
}

/** Python's `round`. */
function roundHalfEven(value: number): number {
  const low = Math.floor(value)
  if (value - low !== 0.5) return Math.round(value)
  return low % 2 === 0 ? low : low + 1
}
