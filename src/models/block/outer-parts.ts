import type { Tensor } from "../../graph/index.ts"
import type { DecoderShape } from "../families/shape.ts"
import { familyOf } from "../families/table.ts"
import { tanh } from "./attention.ts"

/**
 * What rows of the embedding are multiplied with on their way in, and their gradient on its way
 * out.
 */
export const embeddingScale = (shape: DecoderShape): number =>
  familyOf(shape).embeddingScale?.(shape) ?? 1

/** Rows of the embedding [R, C] as the first block takes them. */
export function embeddedRows(rows: Tensor, shape: DecoderShape): Tensor {
  const scale = embeddingScale(shape)
  return scale === 1 ? rows : rows.mul(scale)
}

/** What the family does to its logits. */
export function logitSettings(shape: DecoderShape): {
  readonly scale: number
  readonly softcap: number | undefined
} {
  const { scale = 1, softcap } = familyOf(shape).logits?.(shape) ?? {}
  return { scale, softcap }
}

/**
 * The last hidden states [n, C] as the head multiplies its weights with them, the logits' scale in
 * them.
 */
export function headInput(x: Tensor, weight: Tensor, shape: DecoderShape): Tensor {
  const { scale } = logitSettings(shape)
  const normed = familyOf(shape).finalNorm(x, weight, shape)
  return scale === 1 ? normed : normed.mul(scale)
}

/** softcap * tanh(z / softcap), where the family caps its logits. */
export function cappedLogits(logits: Tensor, shape: DecoderShape): Tensor {
  const { softcap } = logitSettings(shape)
  return softcap === undefined ? logits : tanh(logits.div(softcap)).mul(softcap)
}
