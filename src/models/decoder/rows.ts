import { graph, input, type Tensor } from "../../graph/index.ts"
import {
  CompiledGraphs,
  type Device,
  type DeviceTensor,
  float32,
  int64,
} from "../../runtime/index.ts"

/** Reading and adding rows of a matrix by index: embeddings, supervised positions. */
export class RowOps {
  readonly #device: Device
  readonly #compiled: CompiledGraphs

  constructor(device: Device) {
    this.#device = device
    this.#compiled = new CompiledGraphs(device)
  }

  /** Rows `ids` of table [V, C] times `scale`, as [count, C]; rows past ids.length are zeros. */
  async gather(
    table: DeviceTensor,
    ids: Int32Array,
    count = ids.length,
    scale = 1,
  ): Promise<DeviceTensor> {
    const columns = table.shape[1]!
    if (table.data) {
      const result = new Float32Array(count * columns)
      const source = table.data as Float32Array
      for (let i = 0; i < ids.length; i++) {
        result.set(source.subarray(ids[i]! * columns, (ids[i]! + 1) * columns), i * columns)
      }
      if (scale !== 1) for (let i = 0; i < result.length; i++) result[i]! *= scale
      return this.#device.upload(float32([count, columns], result))
    }
    // Elsewhere the filling rows repeat row 0: they carry no sequence and no loss.
    const padded = new Int32Array(count)
    padded.set(ids)
    const executable = await this.#compiled.once(`gather ${table.shape} ${scale}`, () => {
      const rows = input("table", table.shape).gather(input("ids", ["count"], "i64"))
      return graph("gather", { rows: scaled(rows, scale) })
    })
    const fed = await this.#device.upload(int64([count], padded))
    const { rows } = await executable.run({ table, ids: fed })
    fed.dispose()
    return rows!
  }

  /**
   * target[ids[i]] += scale * rows[i] for the first ids.length rows; returns the tensor to use from
   * now on.
   */
  async scatterAdd(
    target: DeviceTensor,
    ids: Int32Array,
    rows: DeviceTensor,
    scale = 1,
  ): Promise<DeviceTensor> {
    const columns = target.shape[1]!
    if (target.data && rows.data) {
      const to = target.data as Float32Array
      const from = rows.data as Float32Array
      for (let i = 0; i < ids.length; i++) {
        const offset = ids[i]! * columns
        for (let c = 0; c < columns; c++) to[offset + c]! += scale * from[i * columns + c]!
      }
      return target
    }
    const count = ids.length
    const whole = rows.shape[0] === count
    const key = `${whole ? "whole" : `${rows.shape} ${count}`} ${scale}`
    const executable = await this.#compiled.once(`scatter ${target.shape} ${key}`, () => {
      const added = whole
        ? input("rows", ["count", columns])
        : input("rows", rows.shape).slice(0, 0, count)
      const at = input("ids", [whole ? "count" : count], "i64")
      return graph("scatter", {
        sum: input("target", target.shape).scatterAdd(at, scaled(added, scale)),
      })
    })
    const fed = await this.#device.upload(int64([count], ids))
    const { sum } = await executable.run({ target, ids: fed, rows }, { into: { sum: target } })
    fed.dispose()
    return sum!
  }
}

const scaled = (rows: Tensor, scale: number) => (scale === 1 ? rows : rows.mul(scale))
