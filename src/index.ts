export { type LoadConfigOptions, loadConfig } from "./config/load-config.ts"
export { type Run, type TrainOptions, train } from "./engines/local/train.ts"
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
export type { RunResult } from "./train/run.ts"
