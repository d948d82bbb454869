import { float32ToBf16, float32ToF16 } from "../../formats/float.ts"
import type { Dtype, TensorToWrite } from "../../formats/safetensors.ts"
import type { CheckpointDtype } from "../families/model-config.ts"
import type { TensorSource } from "../families/shape.ts"

const bytesOf = (data: Float32Array | Uint16Array) =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

const STORED: {
  readonly [Name in CheckpointDtype]: { dtype: Dtype; encode: (x: Float32Array) => Uint8Array }
} = {
  float32: { dtype: "F32", encode: bytesOf },
  float16: { dtype: "F16", encode: (x) => bytesOf(float32ToF16(x, new Uint16Array(x.length))) },
  bfloat16: { dtype: "BF16", encode: (x) => bytesOf(float32ToBf16(x, new Uint16Array(x.length))) },
}

/** Tensors as a file takes them, rounded to `dtype` one at a time. */
export function storedTensors(
  tensors: readonly TensorSource[],
  dtype: CheckpointDtype,
): TensorToWrite[] {
  const { dtype: stored, encode } = STORED[dtype]
  return tensors.map(({ name, shape, read }) => ({
    name,
    dtype: stored,
    shape,
    data: async () => encode(await read()),
  }))
}
