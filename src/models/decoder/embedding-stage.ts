import { assert } from "../../errors.ts"
import { type Device, type DeviceTensor, float32 } from "../../runtime/index.ts"
import { embeddingNoise } from "../adapters/dropout.ts"
import { embeddingScale } from "../block/outer-parts.ts"
import type { DecoderShape } from "../families/shape.ts"
import type { Pack } from "./pack.ts"
import type { RowOps } from "./rows.ts"

/** Rows of an embedding that lies elsewhere, each into an array of its columns. */
export type EmbeddingRows = (id: number, into: Float32Array) => void | Promise<void>

/** Rows that are read at once. */
const READS = 16

/**
 * Tokens to the first block's input and back: the one reader and the one writer of embedding rows.
 * What a family does to them beyond a look-up stands in `Family`.
 */
export class EmbeddingStage {
  readonly #rowOps: RowOps
  readonly #scale: number

  constructor(shape: DecoderShape, rowOps: RowOps) {
    this.#rowOps = rowOps
    this.#scale = embeddingScale(shape)
  }

  /**
   * Hidden states [count, C] of tokens, read from the table [V, C]; rows past ids.length fill up.
   */
  forward(table: DeviceTensor, ids: Int32Array, count = ids.length): Promise<DeviceTensor> {
    return this.#rowOps.gather(table, ids, count, this.#scale)
  }

  /**
   * The table's gradient with what dx [count, C] adds to the tokens' rows; to be used from now on.
   */
  backward(gradient: DeviceTensor, ids: Int32Array, dx: DeviceTensor): Promise<DeviceTensor> {
    return this.#rowOps.scatterAdd(gradient, ids, dx, this.#scale)
  }
}

/**
 * Hidden states [R, C] of tokens whose rows are read one by one; `tokens` are the rows of `ids`
 * that are tokens, the others stay zero.
 */
export async function readEmbedding(
  row: EmbeddingRows,
  { shape, ids, tokens }: { shape: DecoderShape; ids: Int32Array; tokens: readonly number[] },
): Promise<Float32Array> {
  const C = shape.hiddenSize
  const scale = embeddingScale(shape)
  const hidden = new Float32Array(ids.length * C)
  for (let from = 0; from < tokens.length; from += READS) {
    const reads = tokens
      .slice(from, from + READS)
      .map((at) => row(ids[at]!, hidden.subarray(at * C, (at + 1) * C)))
    await Promise.all(reads)
  }
  if (scale !== 1) for (let i = 0; i < hidden.length; i++) hidden[i]! *= scale
  return hidden
}

/** Embeddings [T, C] with NEFTune's noise on them, the same for the same seed. */
export async function withNoise(
  device: Device,
  x: DeviceTensor,
  { lengths, follows }: Pack,
  options: { readonly alpha: number; readonly seed: number },
): Promise<DeviceTensor> {
  if (options.alpha === 0) return x
  assert(!follows, "noise depends on a sequence's length")
  const noise = embeddingNoise(lengths, x.shape as [number, number], options)
  if (x.data) {
    const data = x.data as Float32Array
    for (let i = 0; i < noise.length; i++) data[i]! += noise[i]!
    return x
  }
  const { data } = await device.download(x)
  x.dispose()
  const sum = Float32Array.from(data as Float32Array, (value, i) => value + noise[i]!)
  return device.upload(float32(x.shape, sum))
}
