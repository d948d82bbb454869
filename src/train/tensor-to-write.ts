import type { TensorToWrite } from "../formats/index.ts"
import type { Device, DeviceTensor } from "../runtime/index.ts"

export const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)

/** A float32 tensor that is here. */
export const heldTensor = (
  name: string,
  shape: readonly number[],
  values: Float32Array,
): TensorToWrite => ({ name, dtype: "F32", shape, data: bytesOf(values) })

/** A float32 tensor of a device as a file takes it: downloaded when its turn comes. */
export function tensorToWrite(name: string, tensor: DeviceTensor, device: Device): TensorToWrite {
  return {
    name,
    dtype: "F32",
    shape: tensor.shape,
    data: async () => bytesOf((await device.download(tensor)).data),
  }
}
