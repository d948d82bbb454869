export {
  checkPython,
  choosePython,
  describePython,
  managedPython,
  type PythonEnvironment,
  type SetupOptions,
  setupEnvironment,
  WORKER_FOLDER,
} from "./environment.ts"
export { followEvents } from "./follow.ts"
export {
  type RunSpecParts,
  runSpecPath,
  type SampleSpec,
  type ScoreSpec,
  writeRunSpec,
} from "./run-spec.ts"
export { type SbatchParts, sbatchFile } from "./slurm.ts"
export { jobThatLeft } from "./slurm-job.ts"
export { type LaunchCommand, launchCommand, nodeRank, processesPerNode } from "./torchrun.ts"
export {
  plainError,
  rankFailure,
  STOP_EVERY_MS,
  tellNodes,
  type WorkerRunOptions,
  watchNodes,
  workerRun,
} from "./worker-run.ts"
