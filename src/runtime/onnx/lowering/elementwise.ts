import type { Lowering, LoweringTable } from "../lowering.ts"
import { ownCast } from "./own-products.ts"

/** One ONNX node of the same inputs. */
const node =
  (opType: string): Lowering =>
  (emit, inputs) =>
    emit.node(opType, inputs)

export const elementwise = {
  neg: node("Neg"),
  exp: node("Exp"),
  log: node("Log"),
  sqrt: node("Sqrt"),
  reciprocal: node("Reciprocal"),
  sigmoid: node("Sigmoid"),
  silu: (emit, inputs) => emit.node("Mul", [inputs[0]!, emit.node("Sigmoid", inputs)]),
  detach: (_emit, inputs) => inputs[0]!,
  not: node("Not"),
  add: node("Add"),
  sub: node("Sub"),
  mul: node("Mul"),
  div: node("Div"),
  pow: node("Pow"),
  max: node("Max"),
  min: node("Min"),
  less: node("Less"),
  lessOrEqual: node("LessOrEqual"),
  equal: node("Equal"),
  and: node("And"),
  where: node("Where"),
  cast: (emit, inputs, { attributes: { dtype }, inputs: [x] }) =>
    dtype === "bf16" || x!.dtype === "bf16"
      ? ownCast(emit, inputs, dtype)
      : emit.node("Cast", inputs, { to: { i: emit.dataType(dtype) } }),
} satisfies Partial<LoweringTable>
