import {
  apply,
  cachedAttention,
  composite,
  concat,
  constant,
  dequantize,
  input,
  type NdArray,
  ndarray,
  type OpName,
  range,
  type Shape,
  type Tensor,
} from "../../graph/index.ts"
import type { Feature } from "../onnx/lowering.ts"

/** An input of a case: a shape and what to fill it with. */
export interface Argument {
  readonly shape: readonly number[]
  readonly dtype: "f32" | "i64" | "bool"
  /** Values outside the range are never seen: from, to. */
  readonly range?: readonly [number, number]
  readonly values?: readonly number[]
  /** The shape that the graph declares, where it has names. */
  readonly declared?: Shape
}

export interface OpCase {
  readonly name: string
  readonly args: readonly Argument[]
  readonly f: (...args: Tensor[]) => Tensor
  /** Set where the op has no gradient. */
  readonly constant?: true
  /** What a device may lack. */
  readonly needs?: Feature
}

/** Float32 numbers in a range, spread without order. */
const real = (...shape: number[]): Argument => ({ shape, dtype: "f32", range: [-1.5, 1.5] })
const between = (from: number, to: number, ...shape: number[]): Argument => {
  return { shape, dtype: "f32", range: [from, to] }
}
const whole = (...values: number[]): Argument => {
  return { shape: [values.length], dtype: "i64", values }
}
const truth = (...values: number[]): Argument => {
  return { shape: [values.length], dtype: "bool", values }
}
/** The first axis goes by a name in the graph. */
const named = (argument: Argument, name = "n"): Argument => {
  return { ...argument, declared: [name, ...argument.shape.slice(1)] }
}
const numbers = (...values: number[]): Argument => {
  return { shape: [values.length], dtype: "f32", values }
}

type Line = readonly [
  args: readonly Argument[],
  f: (...args: Tensor[]) => Tensor,
  needs?: Feature | undefined,
]

const table: { readonly [Op in OpName]: readonly Line[] } = {
  input: [[[real(2, 3)], (x) => x]],
  constant: [
    [[real(2, 3)], (x) => x.mul(constant([1, -2, 3]))],
    [[real(3)], (x) => x.add(2)],
    [[real(2, 3)], (x) => x.gather(constant([1, 0, 1], "i64"))],
  ],
  neg: [[[real(2, 3)], (x) => x.neg()]],
  exp: [[[real(2, 3)], (x) => x.exp()]],
  log: [[[between(0.5, 3, 3, 4)], (x) => x.log()]],
  sqrt: [[[between(0.5, 3, 7)], (x) => x.sqrt()]],
  reciprocal: [[[between(0.5, 3, 2, 2)], (x) => x.reciprocal()]],
  sigmoid: [[[between(-4, 4, 5, 2)], (x) => x.sigmoid()]],
  silu: [
    [[between(-4, 4, 5, 2)], (x) => x.silu()],
    [[real(2, 3), real(2, 3)], (x, y) => x.silu().mul(y)],
  ],
  detach: [[[real(3), real(3)], (x, y) => x.exp().detach().mul(y)]],
  not: [[[truth(1, 0, 1)], (x) => x.not()]],
  cast: [
    [[truth(1, 0, 1)], (x) => x.cast("f32")],
    [[whole(3, 0, -7)], (x) => x.cast("f32")],
    [[numbers(2.7, -2.7, 0)], (x) => x.detach().cast("i64")],
    [[numbers(2.7, -2.7, 0)], (x) => x.detach().cast("bool")],
  ],
  add: [
    [[real(2, 3), real(2, 3)], (x, y) => x.add(y)],
    [[real(2, 3), real(3)], (x, y) => x.add(y)],
    [[real(2, 1), real(1, 3)], (x, y) => x.add(y)],
    [[real(4, 2, 3), real(2, 1)], (x, y) => y.add(x)],
    [[named(real(5, 2)), named(real(5, 1))], (x, y) => x.add(y)],
  ],
  sub: [
    [[real(2, 3), real(2, 3)], (x, y) => x.sub(y)],
    [[real(), real(2, 2)], (x, y) => x.sub(y)],
  ],
  mul: [
    [[real(2, 3), real(2, 1)], (x, y) => x.mul(y)],
    [[real(2, 3)], (x) => x.mul(x)],
  ],
  div: [[[real(2, 3), between(0.5, 2, 3)], (x, y) => x.div(y)]],
  pow: [
    [[between(0.5, 2, 3, 2)], (x) => x.pow(2.5)],
    [[real(4)], (x) => x.pow(2)],
  ],
  max: [
    [[real(3, 4), real(4)], (x, y) => x.max(y)],
    [[real(3, 4)], (x) => x.max(0.25)],
  ],
  min: [[[real(3, 4), real(3, 1)], (x, y) => x.min(y)]],
  less: [[[numbers(1, 2, 3), numbers(2, 2, 2)], (x, y) => x.less(y)]],
  lessOrEqual: [
    [[numbers(1, 2, 3), numbers(2, 2, 2)], (x, y) => x.lessOrEqual(y)],
    [[whole(1, 2, 3), whole(2, 2, 2)], (x, y) => x.lessOrEqual(y)],
  ],
  equal: [
    [[whole(1, 2, 3), whole(3, 2, 1)], (x, y) => x.equal(y)],
    [[numbers(1, 2, 3), numbers(3, 2, 1)], (x, y) => x.equal(y)],
  ],
  and: [[[truth(1, 0, 1, 0), truth(1, 1, 0, 0)], (x, y) => x.and(y)]],
  where: [
    [[truth(1, 0, 1), real(3), real(2, 3)], (c, x, y) => c.where(x, y)],
    [[truth(1, 0), real(2)], (c, x) => c.where(x, Number.NEGATIVE_INFINITY).max(-3)],
  ],
  matmul: [
    [[real(4, 3), real(3, 5)], (x, y) => x.matmul(y)],
    [[real(3, 4), real(3, 5)], (x, y) => x.matmul(y, { transA: true, alpha: 0.5 })],
    [[real(4, 3), real(5, 3)], (x, y) => x.matmul(y, { transB: true, alpha: -2 })],
    [[real(3, 4), real(5, 3)], (x, y) => x.matmul(y, { transA: true, transB: true })],
    [[real(2, 4, 3), real(2, 5, 3)], (x, y) => x.matmul(y, { transB: true, alpha: 0.5 })],
    [[real(2, 3, 4), real(2, 3, 5)], (x, y) => x.matmul(y, { transA: true })],
    [[real(2, 3, 4), real(2, 5, 3)], (x, y) => x.matmul(y, { transA: true, transB: true })],
    [[real(2, 1, 4, 3), real(2, 2, 3, 5)], (x, y) => x.matmul(y)],
    [[named(real(6, 3)), real(3, 2)], (x, y) => x.matmul(y)],
  ],
  gemm: [
    [[real(4, 3), real(3, 5), real(4, 5)], (...args) => gemm(args, {})],
    [[real(4, 3), real(5, 3), real(5)], (...args) => gemm(args, { transB: true, alpha: 0.5 })],
    [[real(3, 4), real(3, 5), real(4, 1)], (...args) => gemm(args, { transA: true })],
    [[real(3, 4), real(5, 3), real()], (...args) => gemm(args, { transA: true, transB: true })],
  ],
  sum: [
    [[real(2, 3, 4)], (x) => x.sum(-1)],
    [[real(2, 3, 4)], (x) => x.sum([0, 2])],
    [[real(2, 3, 4)], (x) => x.sum(1, { keepDims: true })],
    [[named(real(5, 3))], (x) => x.sum(0)],
    [[named(real(5, 3))], (x) => x.sum([0, 1])],
  ],
  reduceMax: [
    [[real(3, 5)], (x) => x.reduceMax(-1)],
    [[real(2, 3, 5)], (x) => x.reduceMax(2, { keepDims: true })],
  ],
  argMax: [[[real(3, 5)], (x) => x.argMax(-1)]],
  topK: [[[real(3, 7)], (x) => x.detach().topK(3)]],
  softmax: [
    [[real(3, 5)], (x) => x.softmax()],
    [[real(2, 2, 6)], (x) => x.mul(5).softmax()],
    [[real(2, 4), truth(1, 0, 1, 1)], (x, c) => c.where(x, Number.NEGATIVE_INFINITY).softmax()],
  ],
  rmsNorm: [
    [[real(3, 8), real(8)], (x, w) => x.rmsNorm(w, 1e-6)],
    [[real(2, 3, 4), real(4)], (x, w) => x.rmsNorm(w, 0.1)],
  ],
  rotary: [
    [[real(3, 2, 4), real(3, 2), real(3, 2)], (x, c, s) => x.rotary(c.detach(), s.detach())],
    [[real(5, 1, 8), real(5, 4), real(5, 4)], (x, c, s) => x.rotary(c.detach(), s.detach())],
  ],
  reshape: [
    [[real(2, 6)], (x) => x.reshape([3, 2, 2])],
    [[named(real(4, 6))], (x) => x.reshape(["n", 2, 3])],
  ],
  transpose: [
    [[real(2, 3)], (x) => x.transpose([1, 0])],
    [[real(2, 3, 4)], (x) => x.transpose([2, 0, 1])],
    [[real(2, 3, 4, 2)], (x) => x.transpose([0, 2, 1, 3])],
  ],
  expand: [
    [[real(2, 1)], (x) => x.expand([2, 3])],
    [[real(3)], (x) => x.expand([2, 2, 3])],
  ],
  slice: [
    [[real(5, 3)], (x) => x.slice(0, 1, 4)],
    [[real(2, 5)], (x) => x.slice(-1, 3, 5)],
    [[real(4, 2), whole(3, 0, 2)], (x, ids) => x.gather(ids.slice(0, 1, 3))],
  ],
  sliceBy: [
    [[real(5, 3), whole(1), whole(4)], (x, b, e) => x.sliceBy(0, b, e, "n")],
    [[real(2, 5, 3), whole(2), whole(5)], (x, b, e) => x.sliceBy(1, b, e, "n").exp()],
    [[real(5, 3), whole(1, 4)], (x, be) => x.sliceBy(0, be.slice(0, 0, 1), be.slice(0, 1, 2), "n")],
    [[real(5, 2), whole(1), whole(4)], (x, b, e) => x.gather(range(5).sliceBy(0, b, e, "n"))],
  ],
  padBy: [
    [[real(2, 3), whole(1), whole(3)], (x, b, e) => x.padBy(0, b, e, 5)],
    [[real(2, 3, 2), whole(2), whole(5)], (x, b, e) => x.padBy(1, b, e, 6)],
    [[named(real(2, 3)), whole(0), whole(2)], (x, b, e) => x.padBy(0, b, e, 4)],
  ],
  concat: [
    [[real(2, 3), real(1, 3)], (x, y) => concat([x, y], 0)],
    [[real(2, 3), real(2, 1), real(2, 2)], (...parts) => concat(parts, -1)],
  ],
  gather: [
    [[real(4, 3), whole(2, 0, 2)], (x, ids) => x.gather(ids)],
    [[real(4, 2, 2), whole(3)], (x, ids) => x.gather(ids)],
  ],
  gatherElements: [
    [[real(3, 5), whole(4, 0, 2)], (x, ids) => x.gatherElements(ids.reshape([3, 1]))],
  ],
  scatterAdd: [
    [[real(4, 3), whole(2, 0, 2), real(3, 3)], (x, ids, rows) => x.scatterAdd(ids, rows)],
  ],
  range: [[[real(4, 3)], (x) => x.gather(range(3))]],
  cachedAttention: [
    [cacheArguments(2, 1), (...x) => cached(x, [3, 1]).y],
    [cacheArguments(1, 3), (...x) => cached(x, [3]).y],
    [cacheArguments(1, 4), (...x) => cached(x, [3]).y],
    [cacheArguments(1, 8, 8), (...x) => cached(x, [7]).y],
    ...[{ window: 2 }, { window: 1 }, { window: 3 }, { softcap: 0.4 }, { scale: 0.9 }].flatMap(
      (attributes): Line[] => {
        const needs = "softcap" in attributes ? ("softcap" as const) : undefined
        return [
          [cacheArguments(2, 1), (...x) => cached(x, [3, 1], attributes).y, needs],
          [cacheArguments(1, 3), (...x) => cached(x, [3], attributes).y, needs],
        ]
      },
    ),
  ],
  dequantize: [
    [[whole(...bytes(2 * 32)), between(0.1, 1, 2, 1), whole(7, 130)], (...x) => decoded(x, 8, 32)],
    [
      [whole(...bytes(2 * 32)), between(0.1, 1, 2, 2), whole(7, 8, 9, 3)],
      (...x) => decoded(x, 4, 50),
    ],
  ],
  // Only whole caches: a device may leave anything in places that no token has reached.
  cacheAfter: [
    [cacheArguments(2, 1), (...x) => cached(x, [3, 3]).keys],
    [cacheArguments(2, 1), (...x) => cached(x, [3, 3]).values],
    [cacheArguments(1, 2), (...x) => cached(x, [3]).keys],
  ],
  composite: [
    [
      [real(3, 2), real(2)],
      (x, y) =>
        composite(
          "product",
          [x, y],
          (a, b) => a!.mul(b!),
          (dy, [a, b]) => [dy.mul(b!), dy.mul(a!).sum(0)],
        ),
    ],
  ],
}

/** n different bytes. */
function bytes(n: number): number[] {
  return Array.from({ length: n }, (_, i) => (37 * i + 11) % 256)
}
function decoded(args: readonly Tensor[], bits: 4 | 8, inFeatures: number) {
  const [codes, scales, zeros] = args as [Tensor, Tensor, Tensor]
  return dequantize(
    {
      codes: codes.cast("u8").reshape([2, 32]),
      scales,
      zeros: zeros.cast("u8").reshape(scales.shape),
    },
    { bits, groupSize: 32, inFeatures },
  )
}

/** Two query heads, one key-value head of 8, a cache of some places. */
function cacheArguments(batch: number, steps: number, places = 4): Argument[] {
  const rows = batch * steps
  const cache = real(batch, 1, places, 8)
  return [real(rows, 16), real(rows, 8), real(rows, 8), cache, cache]
}
function cached(
  args: readonly Tensor[],
  last: readonly number[],
  attributes: Parameters<typeof cachedAttention>[1] = {},
) {
  const [q, k, v, pastKeys, pastValues] = args as [Tensor, Tensor, Tensor, Tensor, Tensor]
  const whole = (values: readonly number[]) => constant(values, "i64").cast("i32")
  const places = { last: whole(last), total: whole([Math.max(...last) + 1]) }
  return cachedAttention({ q, k, v, pastKeys, pastValues, ...places }, attributes)
}

const NO_GRADIENT: ReadonlySet<OpName> = new Set<OpName>([
  ...(["not", "cast", "less", "lessOrEqual", "equal", "and", "argMax", "topK"] as const),
  ...(["cachedAttention", "cacheAfter", "dequantize"] as const),
])

function gemm(args: readonly Tensor[], attributes: Partial<GemmAttributes>): Tensor {
  return apply("gemm", args, { transA: false, transB: false, alpha: 1, ...attributes })
}
interface GemmAttributes {
  readonly transA: boolean
  readonly transB: boolean
  readonly alpha: number
}

/** Every case of every op of the closed list; a missing op is a compile error. */
export const opCases: readonly OpCase[] = (
  Object.entries(table) as [OpName, readonly Line[]][]
).flatMap(([op, lines]) =>
  lines.map(([args, f, needs], i) => ({
    name: lines.length > 1 ? `${op} ${i + 1}` : op,
    args,
    f,
    ...(NO_GRADIENT.has(op) && { constant: true as const }),
    ...(needs && { needs }),
  })),
)

export const opsWithCases = (Object.keys(table) as OpName[]).filter((op) => table[op].length > 0)

/** A case's arguments as inputs of a graph, x0, x1, ... */
export function symbols({ args }: OpCase): Tensor[] {
  return args.map(({ shape, declared, dtype }, i) => input(`x${i}`, declared ?? shape, dtype))
}

/** Numbers for the case's arguments, the same every time. */
export function samples({ args }: OpCase): Record<string, NdArray> {
  return Object.fromEntries(args.map((argument, i) => [`x${i}`, sample(argument, i + 1)]))
}

function sample({ shape, range = [0, 1], values }: Argument, seed: number): NdArray {
  if (values) return ndarray(shape, values)
  const length = shape.reduce((product, dim) => product * dim, 1)
  return ndarray(shape, spread(length, range, seed))
}

/** Numbers of a range that float32 holds exactly, no two alike within a thousand. */
export function spread(length: number, [from, to]: readonly [number, number], seed = 1): number[] {
  const golden = (Math.sqrt(5) - 1) / 2
  return Array.from({ length }, (_, i) => {
    return Math.fround(from + (to - from) * (((i + 1) * golden + seed * 0.317) % 1))
  })
}
