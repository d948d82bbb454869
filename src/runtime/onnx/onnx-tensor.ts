import type { Tensor as OrtTensor } from "onnxruntime-common"
import { assert } from "../../errors.ts"
import type { DType } from "../../graph/index.ts"
import type { DeviceTensor, HostData } from "../device.ts"

export const ORT_TYPE = {
  f32: "float32",
  bf16: "uint16",
  i64: "int64",
  i32: "int32",
  u8: "uint8",
  bool: "bool",
} as const
const DTYPE: Readonly<Record<string, DType>> = {
  float32: "f32",
  uint16: "bf16",
  int64: "i64",
  int32: "i32",
  uint8: "u8",
  bool: "bool",
}

/** A tensor of ONNX Runtime under the device's interface. */
export interface OnnxTensor extends DeviceTensor {
  /** The tensor to feed where a graph stores this input as `stored`. */
  ort(stored: DType): OrtTensor
  /** Bytes that products and look-ups of rows understand, and nothing else does. */
  readonly isPacked?: true
}

/** A matrix [rows, columns] held as panels of bfloat16. */
export function packedTensor(shape: readonly number[], panels: OrtTensor): OnnxTensor {
  return {
    dtype: "f32",
    shape,
    data: undefined,
    isPacked: true,
    ort: () => panels,
    dispose() {},
  }
}

export function isOnnxTensor(tensor: DeviceTensor | undefined): tensor is OnnxTensor {
  return tensor !== undefined && "ort" in tensor
}

/** A tensor in host memory that is the device's own: nothing is copied. */
export function hostTensor(tensor: OrtTensor): OnnxTensor {
  return {
    dtype: DTYPE[tensor.type]!,
    shape: tensor.dims,
    data: tensor.data as HostData,
    ort: () => tensor,
    dispose() {},
  }
}

/**
 * A tensor in the device's own memory, stored as its type or, whole numbers, in 32 bits. Numbers
 * that a graph wants on the host (int64) can only be fed from the host.
 */
export function remoteTensor(tensor: OrtTensor, dtype: DType): OnnxTensor {
  const storage = DTYPE[tensor.type]!
  return {
    dtype,
    shape: tensor.dims,
    data: undefined,
    ort(stored) {
      assert(stored === storage, `a tensor stored as ${storage} was fed where ${stored} is needed`)
      return tensor
    },
    dispose: () => tensor.dispose(),
  }
}

/** A small tensor that travels with each run: both widths of whole numbers are at hand. */
export function travellingTensor(
  tensor: OrtTensor,
  narrow: (data: Int32Array) => OrtTensor,
): OnnxTensor {
  let narrowed: OrtTensor | undefined
  return {
    dtype: DTYPE[tensor.type]!,
    shape: tensor.dims,
    data: undefined,
    ort(stored) {
      if (stored !== "i32" || tensor.type !== "int64") return tensor
      narrowed ??= narrow(Int32Array.from(tensor.data as BigInt64Array, Number))
      return narrowed
    },
    dispose() {},
  }
}
