import { graph, input } from "../../graph/index.ts"
import { CompiledGraphs, type Device, type DeviceTensor, float32 } from "../../runtime/index.ts"

/** Columns beside the wanted ones: they take in what is nearly as large as the last of those. */
const BESIDE = 8
const MOST_ITERATIONS = 64
/** Of the sum of what the wanted directions are stretched by, from one iteration to the next. */
const SETTLED = 1e-7
const SWEEPS = 30

interface Size {
  readonly outFeatures: number
  readonly inFeatures: number
  readonly rank: number
}

/** The largest singular values of a matrix, with their directions: W about U diag(values) V^T. */
export interface Principal {
  /** [rank]. */
  readonly values: Float64Array
  /** Columns of U, [rank][out]. */
  readonly left: readonly Float64Array[]
  /** Rows of V^T, [rank][in]. */
  readonly right: readonly Float64Array[]
}

/** Finds principal directions on a device, by subspace iteration; let go of it at the end. */
export class PrincipalDirections {
  readonly #device: Device
  readonly #compiled: CompiledGraphs

  constructor(device: Device) {
    this.#device = device
    this.#compiled = new CompiledGraphs(device)
  }

  release(): Promise<void> {
    return this.#compiled.release()
  }

  /** @param random where the iteration begins: numbers in [0, 1) */
  async of(weight: Float32Array, size: Size, random: () => number): Promise<Principal> {
    const { outFeatures: out, inFeatures, rank } = size
    const count = Math.min(rank + BESIDE, out, inFeatures)
    const w = await this.#device.upload(float32([out, inFeatures], weight))
    try {
      let columns: Float64Array[] = Array.from({ length: count }, () =>
        Float64Array.from({ length: out }, () => random() - 0.5),
      )
      orthonormalise(columns)
      for (let before = 0, i = 0; i < MOST_ITERATIONS; i++) {
        columns = await this.#stretched(w, columns, [out, inFeatures])
        const lengths = orthonormalise(columns)
        const sum = lengths.slice(0, rank).reduce((total, length) => total + length, 0)
        if (Math.abs(sum - before) <= SETTLED * sum) break
        before = sum
      }
      const rows = await this.#projected(w, columns, [out, inFeatures])
      return ritz(columns, rows, rank)
    } finally {
      w.dispose()
    }
  }

  /** W W^T q of each column q. */
  async #stretched(
    w: DeviceTensor,
    columns: readonly Float64Array[],
    [out, inFeatures]: readonly [number, number],
  ): Promise<Float64Array[]> {
    const k = columns.length
    const key = `${out} ${inFeatures} ${k}`
    const executable = await this.#compiled.once(`stretch ${key}`, () => {
      const [w, q] = [input("w", [out, inFeatures]), input("q", [k, out])]
      const across = q.matmul(w, { exact: true }) // [k, in]
      return graph("stretch", { y: across.matmul(w, { transB: true, exact: true }) })
    })
    return this.#rows(executable, w, columns, out)
  }

  /** Q^T W, row by row. */
  async #projected(
    w: DeviceTensor,
    columns: readonly Float64Array[],
    [out, inFeatures]: readonly [number, number],
  ): Promise<Float64Array[]> {
    const k = columns.length
    const executable = await this.#compiled.once(`project ${out} ${inFeatures} ${k}`, () => {
      const [w, q] = [input("w", [out, inFeatures]), input("q", [k, out])]
      return graph("project", { y: q.matmul(w, { exact: true }) })
    })
    return this.#rows(executable, w, columns, inFeatures)
  }

  async #rows(
    executable: Awaited<ReturnType<CompiledGraphs["once"]>>,
    w: DeviceTensor,
    columns: readonly Float64Array[],
    width: number,
  ): Promise<Float64Array[]> {
    const flat = new Float32Array(columns.length * columns[0]!.length)
    for (const [j, column] of columns.entries()) flat.set(column, j * column.length)
    const q = await this.#device.upload(float32([columns.length, columns[0]!.length], flat))
    const { y } = await executable.run({ w, q })
    const data = (await this.#device.download(y!)).data as Float32Array
    y!.dispose()
    q.dispose()
    return columns.map((_, j) => Float64Array.from(data.subarray(j * width, (j + 1) * width)))
  }
}

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/**
 * Gram and Schmidt, twice, in place; the lengths that were left of each. A column of the others'
 * span becomes 0.
 */
function orthonormalise(columns: readonly Float64Array[]): number[] {
  const first = columns.map((column) => Math.sqrt(dot(column, column)))
  return columns.map((column, j) => {
    for (let pass = 0; pass < 2; pass++) {
      for (const other of columns.slice(0, j)) {
        const along = dot(other, column)
        for (let i = 0; i < column.length; i++) column[i]! -= along * other[i]!
      }
    }
    const length = Math.sqrt(dot(column, column))
    const isLeft = length > 1e-12 * first[j]! && length > 0
    for (let i = 0; i < column.length; i++) column[i] = isLeft ? column[i]! / length : 0
    return isLeft ? length : 0
  })
}

/** Rayleigh and Ritz: of W about Q P the singular triplets, from the eigenvectors of P P^T. */
function ritz(q: readonly Float64Array[], p: readonly Float64Array[], rank: number): Principal {
  const gram = p.map((a) => p.map((b) => dot(a, b)))
  const { values, vectors } = eigen(gram)
  const order = values
    .map((value, index) => ({ value, index }))
    .toSorted((a, b) => b.value - a.value)
    .slice(0, rank)
  const sizes = order.map(({ value }) => Math.sqrt(Math.max(0, value)))
  const mixed = (rows: readonly Float64Array[], index: number, by: number) => {
    const sum = new Float64Array(rows[0]!.length)
    for (const [j, row] of rows.entries()) {
      const share = vectors[j]![index]! * by
      for (let i = 0; i < sum.length; i++) sum[i]! += share * row[i]!
    }
    return sum
  }
  return {
    values: Float64Array.from(sizes),
    left: order.map(({ index }) => mixed(q, index, 1)),
    right: order.map(({ index }, k) => mixed(p, index, sizes[k]! > 0 ? 1 / sizes[k]! : 0)),
  }
}

/** Of a symmetric matrix, by Jacobi's rotations: `vectors[j][k]` is element j of the k-th. */
function eigen(symmetric: readonly (readonly number[])[]) {
  const n = symmetric.length
  const a = symmetric.map((row) => Float64Array.from(row))
  const vectors = a.map((_, i) => Float64Array.from({ length: n }, (_, j) => (i === j ? 1 : 0)))
  const whole = a.reduce((sum, row) => sum + dot(row, row), 0)
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    let off = 0
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) off += a[i]![j]! ** 2
    if (off <= 1e-28 * whole) break
    for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) rotate(a, vectors, i, j)
  }
  return { values: a.map((row, i) => row[i]!), vectors }
}

/** Makes a[i][j] zero. */
function rotate(a: Float64Array[], vectors: Float64Array[], i: number, j: number): void {
  const between = a[i]![j]!
  if (between === 0) return
  const theta = (a[j]![j]! - a[i]![i]!) / (2 * between)
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1))
  const c = 1 / Math.sqrt(t * t + 1)
  const s = t * c
  const turn = (rows: Float64Array[], k: number) => {
    const [x, y] = [rows[k]![i]!, rows[k]![j]!]
    rows[k]![i] = c * x - s * y
    rows[k]![j] = s * x + c * y
  }
  for (let k = 0; k < a.length; k++) turn(a, k)
  const [left, right] = [a[i]!, a[j]!]
  for (let k = 0; k < a.length; k++) {
    const [x, y] = [left[k]!, right[k]!]
    left[k] = c * x - s * y
    right[k] = s * x + c * y
  }
  for (let k = 0; k < a.length; k++) turn(vectors, k)
}
