export { type Coefficients, coefficients } from "./differentiate.ts"
export * from "./evaluate.ts"
export {
  constant,
  Expression,
  GRADIENT_INPUTS,
  type GradientInput,
  type InputName,
  input,
  type Operand,
  type ReducedInput,
  type ReductionOp,
  where,
} from "./expression.ts"
export { type ExpressionJson, expressionFromJson, expressionToJson } from "./expression-json.ts"
export * from "./objective.ts"
export type { TensorOps } from "./operations.ts"
