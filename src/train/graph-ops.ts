import { constant, type Tensor } from "../graph/index.ts"
import type { TensorOps } from "../objectives/index.ts"

const number = (condition: Tensor) => condition.cast("f32")

/** The objective's operations as graph nodes: how an expression gets into the head's graph. */
export const GRAPH_OPS: TensorOps<Tensor> = {
  constant: (value) => constant(value),
  neg: (a) => a.neg(),
  exp: (a) => a.exp(),
  log: (a) => a.log(),
  sqrt: (a) => a.sqrt(),
  add: (a, b) => a.add(b),
  sub: (a, b) => a.sub(b),
  mul: (a, b) => a.mul(b),
  div: (a, b) => a.div(b),
  pow: (a, b) => a.pow(b),
  min: (a, b) => a.min(b),
  max: (a, b) => a.max(b),
  gt: (a, b) => number(b.less(a)),
  ge: (a, b) => number(b.lessOrEqual(a)),
  lt: (a, b) => number(a.less(b)),
  le: (a, b) => number(a.lessOrEqual(b)),
  eq: (a, b) => number(a.equal(b)),
  where: (condition, a, b) => condition.equal(0).where(b, a),
}
