/** Plain float64 arrays for the reference interpreter; integers and booleans are numbers too. */
export interface NdArray {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

export function size(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1)
}

export function ndarray(shape: readonly number[], data?: ArrayLike<number>): NdArray {
  const values = data ? Float64Array.from(data) : new Float64Array(size(shape))
  if (values.length !== size(shape)) {
    throw new Error(`ndarray: ${values.length} values for shape [${shape}]`)
  }
  return { shape, data: values }
}

export function strides(shape: readonly number[]): number[] {
  const result = new Array<number>(shape.length)
  let stride = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    result[i] = stride
    stride *= shape[i]!
  }
  return result
}

/** Strides that read `x` as if it had `shape`: 0 along the axes it is broadcast over. */
function broadcastStrides(x: NdArray, shape: readonly number[]): number[] {
  const own = strides(x.shape)
  const offset = shape.length - x.shape.length
  return shape.map((_, axis) => {
    const i = axis - offset
    return i < 0 || x.shape[i] === 1 ? 0 : own[i]!
  })
}

/**
 * Walks an array of `shape` in row-major order: `visit` gets the position there, and the position
 * `offset + sum_i index_i steps_i` elsewhere.
 */
export function walk(
  shape: readonly number[],
  steps: readonly number[],
  visit: (position: number, elsewhere: number) => void,
  offset = 0,
): void {
  const total = size(shape)
  const index = new Array<number>(shape.length).fill(0)
  let elsewhere = offset
  for (let position = 0; position < total; position++) {
    visit(position, elsewhere)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      elsewhere += steps[axis]!
      if (++index[axis]! < shape[axis]!) break
      elsewhere -= steps[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
}

/** An array of `shape` whose element at an index is `x.data[offset + sum_i index_i steps_i]`. */
export function strided(
  x: NdArray,
  shape: readonly number[],
  steps: readonly number[],
  offset = 0,
): NdArray {
  const result = ndarray(shape)
  walk(
    shape,
    steps,
    (to, from) => {
      result.data[to] = x.data[from]!
    },
    offset,
  )
  return result
}

/** `x` repeated to `shape`; itself where it has it. */
export function broadcastTo(x: NdArray, shape: readonly number[]): NdArray {
  const same = x.shape.length === shape.length && x.shape.every((dim, i) => dim === shape[i])
  return same ? x : strided(x, shape, broadcastStrides(x, shape))
}

/** An elementwise function of arrays that broadcast to one shape. */
export function elementwise(f: (...values: number[]) => number, ...xs: NdArray[]): NdArray {
  const shape = xs.map((x) => x.shape).reduce(broadcastShapes)
  const [a, b, c] = xs.map((x) => broadcastTo(x, shape).data) as [Float64Array, ...Float64Array[]]
  if (c) return { shape, data: a.map((value, i) => f(value, b![i]!, c[i]!)) }
  if (b) return { shape, data: a.map((value, i) => f(value, b[i]!)) }
  return { shape, data: a.map((value) => f(value)) }
}

export function broadcastShapes(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, i) => {
    const x = a[a.length - rank + i] ?? 1
    const y = b[b.length - rank + i] ?? 1
    if (x !== y && x !== 1 && y !== 1) throw new Error(`cannot broadcast [${a}] with [${b}]`)
    return x === 1 ? y : x
  })
}
