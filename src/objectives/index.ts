export { type AdvantageSettings, gaeOf, normalizedAdvantage } from "./advantage-rule.ts"
export { objectiveBySource } from "./by-source.ts"
export {
  type AdvantageRule,
  type Definition,
  type GaeSettings,
  MODIFIERS,
  normalizationsOf,
  type ObjectiveParameter,
} from "./definition.ts"
export { type Coefficients, coefficients } from "./differentiate.ts"
export { type DpoPair, dpoPair } from "./dpo-pair.ts"
export * from "./evaluate.ts"
export {
  constant,
  Expression,
  GRADIENT_INPUTS,
  type GradientInput,
  type InputName,
  input,
  MEASURED_INPUTS,
  type Operand,
  type ReducedInput,
  type ReductionOp,
  where,
} from "./expression.ts"
export { type ExpressionJson, expressionFromJson, expressionToJson } from "./expression-json.ts"
export { definitionOf, FAMILY, type ObjectiveName } from "./family.ts"
export { formulaExpression, formulaObjective } from "./formula.ts"
export {
  type ObjectiveProblem,
  type ObjectiveSettings,
  objectiveFromConfig,
  objectiveProblems,
  trainsOnOf,
  withParameterDefaults,
} from "./from-config.ts"
export { IMPORTANCE, type ImportanceSettings } from "./importance.ts"
export { type StepTokens, tokenScales } from "./normalization.ts"
export * from "./objective.ts"
export {
  type ObjectiveJson,
  objectiveFromJson,
  objectiveToConfig,
  objectiveToJson,
} from "./objective-json.ts"
export type { TensorOps } from "./operations.ts"
export { type KnownColumns, tokenWeights } from "./token-weights.ts"
export { isOfPairs, type TrainsOn } from "./trains-on.ts"
export { pushesAway, SHOWN_P, weightsAt } from "./weights.ts"
