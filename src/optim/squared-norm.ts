import { graph, input, type Tensor } from "../graph/index.ts"
import type { Device, DeviceTensor, Executable } from "../runtime/index.ts"

export interface SquaredNorm {
  /** The sum of the squares of every element of every tensor (float32). The same bits every time. */
  of(tensors: Iterable<DeviceTensor>): Promise<number>
  release(): Promise<void>
}

/** Elements summed in float32; the sums of the rows are added in float64. */
const ROW = 1024
/** Elements of one run on the CPU: the squares stay in cache. */
const PIECE = 262_144

/**
 * The squared Euclidean norm, for clipping by global norm: per row in float32 on the device,
 * over rows in float64 here. The order of additions does not depend on anything but the shapes.
 */
export async function createSquaredNorm(device: Device): Promise<SquaredNorm> {
  const compiled = new Map<number, Promise<Executable>>()
  const executable = (rank: number) => {
    const known = compiled.get(rank) ?? device.compile(rowSums(rank))
    compiled.set(rank, known)
    return known
  }
  const total = async (x: DeviceTensor) => {
    const { sums } = await (await executable(x.shape.length)).run({ x })
    const { data } = await device.download(sums!)
    sums!.dispose()
    return (data as Float32Array).reduce((sum, value) => sum + value, 0)
  }
  return {
    async of(tensors) {
      let sum = 0
      for (const tensor of tensors) {
        for (const piece of await pieces(device, tensor)) sum += await total(piece)
      }
      return sum
    },
    async release() {
      for (const each of compiled.values()) await (await each).release()
    },
  }
}

/** Over the last axis: x [.., n] -> [..]. */
function rowSums(rank: number) {
  const x: Tensor = input(
    "x",
    Array.from({ length: rank }, (_, axis) => `n${axis}`),
  )
  return graph("squared_norm", { sums: x.mul(x).sum(-1) })
}

/** Host memory seen as matrices of rows of ROW elements, and what is left; else the tensor itself. */
async function pieces(device: Device, tensor: DeviceTensor): Promise<DeviceTensor[]> {
  if (tensor.data === undefined) return [tensor]
  const host = tensor.data as Float32Array
  const result: DeviceTensor[] = []
  const view = async (start: number, rows: number, columns: number) => {
    const data = host.subarray(start, start + rows * columns)
    result.push(await device.upload({ dtype: "f32", shape: [rows, columns], data }))
  }
  const whole = host.length - (host.length % ROW)
  for (let start = 0; start < whole; start += PIECE) {
    await view(start, Math.min(PIECE, whole - start) / ROW, ROW)
  }
  if (host.length > whole) await view(whole, 1, host.length - whole)
  return result
}
