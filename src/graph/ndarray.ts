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

/** Fills an array of `shape`: `f` gets the index, one number per axis. */
export function fill(shape: readonly number[], f: (index: readonly number[]) => number): NdArray {
  const result = ndarray(shape)
  const index = new Array<number>(shape.length).fill(0)
  for (let i = 0; i < result.data.length; i++) {
    result.data[i] = f(index)
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis]!++
      if (index[axis]! < shape[axis]!) break
      index[axis] = 0
    }
  }
  return result
}

/** The element of `x` at an index of a shape that `x` broadcasts to. */
export function at(x: NdArray, index: readonly number[]): number {
  const offset = index.length - x.shape.length
  let position = 0
  for (let axis = 0; axis < x.shape.length; axis++) {
    const dim = x.shape[axis]!
    position = position * dim + (dim === 1 ? 0 : index[axis + offset]!)
  }
  return x.data[position]!
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
