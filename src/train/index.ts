export { checkpointFolders, readCheckpoint } from "./checkpoint.ts"
export type { Estimate, EstimatedParts } from "./estimate.ts"
export type { LearningRateRange, RangePoint } from "./learning-rate-range.ts"
export { type MemoryPlan, memoryPlan } from "./memory-plan.ts"
export { type PlanOptions, planRun, type RunPlan } from "./plan.ts"
export {
  type Advice,
  type ProbeResult,
  probe,
  type SourceProbe,
} from "./probe.ts"
export { reportHtml } from "./report.ts"
export { type RunResult, runHere } from "./run.ts"
export { type RunSummary, summarizeRuns } from "./run-summary.ts"
export { terminalOptions, terminalView } from "./terminal.ts"
export { type Run, type TrainOptions, train } from "./train.ts"
