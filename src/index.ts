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
export { type LoadConfigOptions, loadConfig } from "./run/load-config.ts"
export type { RunResult } from "./train/run.ts"
export { type Run, type TrainOptions, train } from "./train/train.ts"
