import { InputError } from "../../errors.ts"
import { elementwise as mapElements } from "../ndarray.ts"
import { broadcast, type DType, expectType, type TensorType } from "../shape.ts"
import type { Leaves, OpName, OpRow, Tensor } from "../tensor.ts"

type Unary = "neg" | "exp" | "log" | "sqrt" | "reciprocal" | "sigmoid" | "silu" | "detach" | "not"
type Compare = "less" | "lessOrEqual" | "equal" | "and"
type Binary = "add" | "sub" | "mul" | "div" | "pow" | "max" | "min" | Compare

const BITS = new Uint32Array(1)
const VALUE = new Float32Array(BITS.buffer)

/** To nearest, ties to even; NaN stays NaN. */
function roundedToBfloat16(value: number): number {
  if (Number.isNaN(value)) return value
  VALUE[0] = value
  BITS[0] = (BITS[0]! + 0x7fff + ((BITS[0]! >>> 16) & 1)) & 0xffff0000
  return VALUE[0]
}

const isReal = (dtype: DType) => dtype === "f32" || dtype === "bf16"

/** Sums `dy` over the axes along which `x` was broadcast to `dy`'s shape. */
export function unbroadcast(dy: Tensor, x: Tensor): Tensor {
  const offset = dy.rank - x.rank
  const axes = dy.shape.flatMap((dim, i) =>
    i < offset || (x.shape[i - offset] === 1 && dim !== 1) ? [i] : [],
  )
  return axes.length === 0 ? dy : dy.sum(axes, { keepDims: true }).reshape(x.shape)
}

/** One elementwise op of one argument: its value, its gradient. */
function unary<Op extends Unary>(
  f: (x: number) => number,
  gradient: (dy: Tensor, x: Tensor, y: Tensor, leaves: Leaves) => Tensor | null,
  dtype: DType | "any" = "f32",
): OpRow<Op> {
  return {
    type: ([x]) => {
      if (dtype !== "any") expectType(x!, dtype)
      return { dtype: x!.dtype, shape: x!.shape }
    },
    gradient: (dy, node, leaves) => [gradient(dy, node.inputs[0]!, node, leaves)],
    evaluate: ([x]) => mapElements(f, x!),
  }
}

function binaryType(inputs: readonly Tensor[], dtype?: DType): TensorType {
  const [a, b] = inputs as [Tensor, Tensor]
  if (a.dtype !== b.dtype) {
    throw new InputError(`the types ${a.dtype} and ${b.dtype} differ; cast one of them`)
  }
  return { dtype: dtype ?? a.dtype, shape: broadcast(a.shape, b.shape) }
}

type BinaryGradient = (dy: Tensor, a: Tensor, b: Tensor) => readonly (Tensor | null)[]

function binary<Op extends Binary>(
  f: (a: number, b: number) => number,
  gradient: BinaryGradient,
  dtype?: DType,
): OpRow<Op> {
  return {
    type: (inputs) => binaryType(inputs, dtype),
    gradient: (dy, node) => {
      const [a, b] = node.inputs as [Tensor, Tensor]
      const [da, db] = gradient(dy, a, b)
      return [da ? unbroadcast(da, a) : null, db ? unbroadcast(db, b) : null]
    },
    evaluate: ([a, b]) => mapElements(f, a!, b!),
  }
}

const none: BinaryGradient = () => [null, null]
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))
/** 1 where the condition holds, in float32, to multiply a gradient with. */
const mask = (condition: Tensor) => condition.cast("f32")

export const elementwise = {
  neg: unary<"neg">(
    (x) => -x,
    (dy) => dy.neg(),
    "any",
  ),
  exp: unary<"exp">(Math.exp, (dy, _x, y) => dy.mul(y)),
  log: unary<"log">(Math.log, (dy, x) => dy.div(x)),
  sqrt: unary<"sqrt">(Math.sqrt, (dy, _x, y) => dy.div(y).mul(0.5)),
  reciprocal: unary<"reciprocal">(
    (x) => 1 / x,
    (dy, _x, y) => dy.mul(y.mul(y)).neg(),
  ),
  sigmoid: unary<"sigmoid">(sigmoid, (dy, _x, y, { constant }) =>
    dy.mul(y.mul(constant(1).sub(y))),
  ),
  // d silu = s (1 + x (1 - s)) = y + s (1 - y)
  silu: unary<"silu">(
    (x) => x * sigmoid(x),
    (dy, x, y, { constant }) => {
      const s = x.sigmoid()
      return dy.mul(constant(1).sub(y).mul(s).add(y))
    },
  ),
  detach: unary<"detach">(
    (x) => x,
    () => null,
    "any",
  ),
  not: unary<"not">(
    (x) => (x ? 0 : 1),
    () => null,
    "bool",
  ),

  add: binary<"add">(
    (a, b) => a + b,
    (dy) => [dy, dy],
  ),
  sub: binary<"sub">(
    (a, b) => a - b,
    (dy) => [dy, dy.neg()],
  ),
  mul: binary<"mul">(
    (a, b) => a * b,
    (dy, a, b) => [dy.mul(b), dy.mul(a)],
  ),
  div: binary<"div">(
    (a, b) => a / b,
    (dy, a, b) => [dy.div(b), dy.mul(a).div(b.mul(b)).neg()],
  ),
  // The exponent's gradient is not needed by any objective: exponents are constants.
  pow: binary<"pow">(Math.pow, (dy, a, b) => [dy.mul(b).mul(a.pow(b.sub(1))), null]),
  max: binary<"max">(Math.max, (dy, a, b) => [
    dy.mul(mask(b.lessOrEqual(a))),
    dy.mul(mask(a.less(b))),
  ]),
  min: binary<"min">(Math.min, (dy, a, b) => [
    dy.mul(mask(a.lessOrEqual(b))),
    dy.mul(mask(b.less(a))),
  ]),
  less: binary<"less">((a, b) => +(a < b), none, "bool"),
  lessOrEqual: binary<"lessOrEqual">((a, b) => +(a <= b), none, "bool"),
  equal: binary<"equal">((a, b) => +(a === b), none, "bool"),
  and: binary<"and">((a, b) => +(a !== 0 && b !== 0), none, "bool"),

  where: {
    type: ([condition, a, b]) => {
      if (condition!.dtype !== "bool") {
        throw new InputError(`the condition must be bool, got ${condition!.dtype}`)
      }
      const { dtype, shape } = binaryType([a!, b!])
      return { dtype, shape: broadcast(condition!.shape, shape) }
    },
    gradient: (dy, node) => {
      const [condition, a, b] = node.inputs as [Tensor, Tensor, Tensor]
      return [null, unbroadcast(condition.where(dy, 0), a), unbroadcast(condition.where(0, dy), b)]
    },
    evaluate: ([condition, a, b]) => mapElements((c, x, y) => (c ? x : y), condition!, a!, b!),
  } satisfies OpRow<"where">,

  cast: {
    type([x], { dtype }) {
      if (dtype === "bf16") expectType(x!, "f32")
      if (x!.dtype === "bf16" && dtype !== "f32") {
        throw new InputError(`bf16 is cast to f32 alone, not to ${dtype}`)
      }
      return { dtype, shape: x!.shape }
    },
    gradient: (dy, { dtype, inputs: [x] }) => [isReal(x!.dtype) && isReal(dtype) ? dy : null],
    evaluate: ([x], { attributes: { dtype } }) =>
      mapElements((v) => {
        if (dtype === "bool") return +(v !== 0)
        if (dtype === "bf16") return roundedToBfloat16(v)
        return dtype === "f32" ? v : Math.trunc(v)
      }, x!),
  } satisfies OpRow<"cast">,
} satisfies Partial<{ [Op in OpName]: OpRow<Op> }>
