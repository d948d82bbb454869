import type { TensorToWrite } from "../formats/index.ts"
import type { Device, DeviceTensor } from "../runtime/index.ts"

/** A float32 tensor of a device as a file takes it: downloaded when its turn comes. */
export function tensorToWrite(name: string, tensor: DeviceTensor, device: Device): TensorToWrite {
  return {
    name,
    dtype: "F32",
    shape: tensor.shape,
    data: async () => {
      const { data } = await device.download(tensor)
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    },
  }
}
