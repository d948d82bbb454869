export { terminalOptions, terminalView } from "../report/live-view.ts"
export { reportHtml } from "../report/run-page.ts"
export { type RunSummary, summarizeRuns } from "../report/run-summary.ts"
export { checkpointFolders, checkpointStep, readCheckpoint, readState } from "./checkpoint.ts"
export type { Estimate, EstimatedParts } from "./estimate.ts"
export { finishedRun } from "./finished-run.ts"
export type { LearningRateRange, RangePoint } from "./learning-rate-range.ts"
export { type MemoryPlan, memoryPlan } from "./memory-plan.ts"
export {
  closeRows,
  type DataPlan,
  type PlanOptions,
  planData,
  planRun,
  type RunPlan,
} from "./plan.ts"
export {
  type Advice,
  type ProbeResult,
  probe,
  type SourceProbe,
} from "./probe.ts"
export { type RunResult, runHere } from "./run.ts"
export { checkpointToResume, FROM_THE_BEGINNING } from "./run-start.ts"
