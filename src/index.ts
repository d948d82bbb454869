export {
  constant,
  type Expression,
  type Objective,
  type ObjectiveInputs,
  objectiveToConfig,
  tokenObjective,
  where,
} from "./objectives/index.ts"
export * from "./run/index.ts"
