import { InputError } from "../errors.ts"
import { GGUF_BLOCKS, GGUF_ENCODINGS, type WrittenGgufType } from "../formats/index.ts"
import type { CheckpointDtype, TensorSource } from "../models/index.ts"

/** What reading back has shown. */
export interface Verified {
  readonly tensors: number
  readonly values: number
  /** The largest difference, in parts of the largest value of its tensor. */
  readonly largestError: number
}

/** A tensor as it was written, and as it was meant. */
export interface WrittenTensor {
  readonly name: string
  readonly type: WrittenGgufType
  readonly shape: readonly number[]
  readonly written: () => Promise<Float32Array>
  readonly meant: () => Promise<Float32Array>
}

const TYPE_OF_DTYPE: { readonly [Dtype in CheckpointDtype]: WrittenGgufType } = {
  float32: "F32",
  float16: "F16",
  bfloat16: "BF16",
}

/** @returns the largest difference, in parts of the tensor's largest value */
function compareValues(
  { name, type }: WrittenTensor,
  written: Float32Array,
  meant: Float32Array,
  where: string,
): number {
  const { bound } = GGUF_ENCODINGS[type]
  const perBlock = GGUF_BLOCKS[type].values
  let largestError = 0
  let largestValue = 0
  for (let from = 0; from < meant.length; from += perBlock) {
    const to = Math.min(from + perBlock, meant.length)
    let largest = 0
    for (let i = from; i < to; i++) largest = Math.max(largest, Math.abs(meant[i]!))
    for (let i = from; i < to; i++) {
      const error = written[i] === meant[i] ? 0 : Math.abs(written[i]! - meant[i]!)
      // What is not a number, or was and is infinite, is never within a bound.
      if (!(error <= bound(meant[i]!, largest)) || !Number.isFinite(written[i])) {
        throw outOfBound(`${where}: tensor "${name}"`, type, meant[i]!, written[i]!)
      }
      largestError = Math.max(largestError, error)
    }
    largestValue = Math.max(largestValue, largest)
  }
  return largestValue === 0 ? 0 : largestError / largestValue
}

function outOfBound(where: string, type: WrittenGgufType, meant: number, written: number): Error {
  if (!Number.isFinite(meant)) {
    return new InputError(
      `${where}: the model holds ${meant}, which is no weight; its training has failed`,
    )
  }
  if (!Number.isFinite(written)) {
    return new InputError(`${where}: ${meant} does not fit ${type}; choose bf16 or f32`)
  }
  return new Error(`${where}: read back as ${written}, which is not ${meant} in ${type}`)
}

/**
 * Reads every tensor of what was written beside what it was made from, one at a time.
 *
 * @throws InputError for weights that are no numbers or too large for the type
 * @throws Error when what is on the disk is not what was meant
 */
export async function verifyTensors(
  tensors: readonly WrittenTensor[],
  where: string,
  onTensor: (done: number, ofAll: number) => void,
): Promise<Verified> {
  let values = 0
  let largestError = 0
  for (const [i, tensor] of tensors.entries()) {
    const meant = await tensor.meant()
    const written = await tensor.written()
    if (written.length !== meant.length) {
      throw new Error(
        `${where}: tensor "${tensor.name}": read back ${written.length} values, wrote ${meant.length}`,
      )
    }
    largestError = Math.max(largestError, compareValues(tensor, written, meant, where))
    values += meant.length
    onTensor(i + 1, tensors.length)
  }
  return { tensors: tensors.length, values, largestError }
}

/** Tensors of a Hugging Face folder that was written, beside what they were made from. */
export function writtenTensors(
  written: readonly TensorSource[],
  meant: readonly TensorSource[],
  dtype: CheckpointDtype,
): WrittenTensor[] {
  const found = new Map(written.map((tensor) => [tensor.name, tensor]))
  return meant.map(({ name, shape, read }) => {
    const twin = found.get(name)
    if (twin === undefined) throw new Error(`tensor "${name}" was not written`)
    return { name, shape, type: TYPE_OF_DTYPE[dtype], written: twin.read, meant: read }
  })
}

/**
 * The largest difference of one tensor in parts of its largest value, each value held to a bound by
 * that largest value.
 *
 * @throws InputError for weights that are no numbers
 * @throws Error where what was written is not within the bound
 */
export function largestDifference(
  { name, meant, written }: { name: string; meant: Float32Array; written: Float32Array },
  bound: (largest: number) => number,
  where: string,
): number {
  let largest = 0
  let error = 0
  for (const [i, value] of meant.entries()) {
    if (!Number.isFinite(value)) throw outOfBound(`${where}: tensor "${name}"`, "F32", value, value)
    largest = Math.max(largest, Math.abs(value))
    const difference = Math.abs(written[i]! - value)
    error = difference > error || Number.isNaN(difference) ? difference : error
  }
  if (error <= bound(largest)) return largest === 0 ? 0 : error / largest
  throw new Error(`${where}: tensor "${name}": read back ${error} off, more than its bits allow`)
}
