import type { Tensor } from "../../graph/index.ts"
import type { DecoderShape } from "../families/shape.ts"
import { familyOf } from "../families/table.ts"
import { tanh } from "./attention.ts"

/** What rows of the embedding are multiplied with on their way in, and their gradient on its way out. */
export const embeddingScale = (shape: DecoderShape): number =>
  familyOf(shape).embeddingScale?.(shape) ?? 1

/** Rows of the embedding [R, C] as the first block takes them. */
export function embeddedRows(rows: Tensor, shape: DecoderShape): Tensor {
  const scale = embeddingScale(shape)
  return scale === 1 ? rows : rows.mul(scale)
}

export const logitSoftcap = (shape: DecoderShape): number | undefined =>
  familyOf(shape).logitSoftcap?.(shape)

/** softcap * tanh(z / softcap), where the family caps its logits. */
export function cappedLogits(logits: Tensor, shape: DecoderShape): Tensor {
  const softcap = logitSoftcap(shape)
  return softcap === undefined ? logits : tanh(logits.div(softcap)).mul(softcap)
}
