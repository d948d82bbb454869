import type { DType, Graph, NdArray } from "../../graph/index.ts"
import type { Device, DeviceTensor, Feeds, HostData } from "../device.ts"

/** A float64 array as the device's type. */
export function hostData(dtype: DType, data: Float64Array): HostData {
  if (dtype === "f32") return Float32Array.from(data)
  if (dtype === "i64") return BigInt64Array.from(data, BigInt)
  return dtype === "i32" ? Int32Array.from(data) : Uint8Array.from(data)
}

/** Uploads what the graph's inputs name. */
export async function toDevice(
  device: Device,
  graph: Graph,
  feeds: Readonly<Record<string, NdArray>>,
): Promise<Feeds> {
  const fed: Record<string, DeviceTensor> = {}
  for (const { name, dtype } of graph.inputs) {
    const { shape, data } = feeds[name]!
    fed[name] = await device.upload({ dtype, shape, data: hostData(dtype, data) })
  }
  return fed
}

export async function fromDevice(device: Device, tensor: DeviceTensor): Promise<number[]> {
  const { data } = await device.download(tensor)
  return Array.from(data as ArrayLike<number | bigint>, Number)
}
