export { type LoadConfigOptions, loadConfig } from "./config/load-config.ts"
export { planOf, train } from "./engines/engine.ts"
export type { Run, RunOptions } from "./engines/run.ts"
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
