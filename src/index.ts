export { type LoadConfigOptions, loadConfig } from "./config/load-config.ts"
export type { Run, RunOptions } from "./engines/engine.ts"
export { planOf, train } from "./engines/index.ts"
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
