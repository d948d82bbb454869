import { graph, input, type Tensor } from "../graph/index.ts"
import { CompiledGraphs, type Device, type DeviceTensor } from "../runtime/index.ts"

export interface SquaredNorm {
  /**
   * The sum of the squares of every element of every tensor (float32). The same bits every time.
   */
  of(tensors: Iterable<DeviceTensor>): Promise<number>
  release(): Promise<void>
}

/** Elements summed in float32; the sums of the rows are added in float64. */
const ROW = 1024
/** Elements of one run on the CPU: enough that starting it costs little. */
const PIECE = 2 ** 20

/**
 * The squared Euclidean norm, for clipping by global norm: per row in float32 on the device,
 * over rows in float64 here. The order of additions does not depend on anything but the shapes.
 */
export async function createSquaredNorm(device: Device): Promise<SquaredNorm> {
  const compiled = new CompiledGraphs(device)
  const total = async (x: DeviceTensor) => {
    const rank = x.shape.length
    const whole = x.data !== undefined && x.shape[rank - 1] === ROW
    const key = whole ? "whole rows" : `rank ${rank}`
    const executable = await compiled.once(key, () => (whole ? rowDots() : rowSums(rank)))
    const { sums } = await executable.run({ x })
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
    release: () => compiled.release(),
  }
}

/** x [rows, ROW] -> [rows], each row with itself: no square is written to memory. */
function rowDots() {
  const row = input("x", ["rows", ROW]).reshape(["rows", 1, ROW])
  return graph("squared_norm", {
    sums: row.matmul(row, { transB: true, exact: true }).reshape(["rows"]),
  })
}

/** Over the last axis: x [.., n] -> [..]. */
function rowSums(rank: number) {
  const x: Tensor = input(
    "x",
    Array.from({ length: rank }, (_, axis) => `n${axis}`),
  )
  return graph("squared_norm", { sums: x.mul(x).sum(-1) })
}

/**
 * Host memory seen as matrices of rows of ROW elements, and what is left; else the tensor itself.
 */
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
