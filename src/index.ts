/**
 * The library: every verb of the command line is a thin shell over one of these (docs/library.md).
 * They return what `--json` prints, write nothing to stdout or stderr, and throw InputError for
 * what the user can mend.
 */

import type { check as checkNow } from "./check/check.ts"
import type { doctor as examine } from "./check/machine.ts"
import type { Config } from "./config/index.ts"
import type { demo as demoNow } from "./demo/demo.ts"
import type { Run } from "./engines/engine.ts"
import type { writeJob as writeJobNow } from "./engines/torch/launch.ts"
import type { TorchOptions } from "./engines/torch/torch-run.ts"
import type { compare as compareNow } from "./evaluate/compare.ts"
import type { evaluate as evaluateNow } from "./evaluate/evaluate.ts"
import type { evaluateRows as evaluateRowsNow } from "./evaluate/evaluate-rows.ts"
import type { grade as gradeNow } from "./evaluate/grade.ts"
import type { convert as convertNow } from "./export/convert.ts"
import type { exportModel as exportNow } from "./export/export.ts"
import type { exportToHub as exportToHubNow } from "./export/hub.ts"
import type { init as initNow } from "./first-config/init.ts"
import type { JsonObject } from "./formats/json.ts"
import type { chat as chatNow } from "./generate/chat.ts"
import type { GenerationOptions, GenerationSummary } from "./generate/generation.ts"
import { type Begun, begun } from "./host/begun.ts"
import { later } from "./host/later.ts"
import type { serveFolder } from "./server/serve-folder.ts"
import type {
  studyJobs as studyJobsNow,
  study as studyNow,
  studyPlan as studyPlanNow,
} from "./study/study.ts"
import type { fit as fitNow } from "./train/fit.ts"
import type { fitConfig as fitConfigNow } from "./train/fit-config.ts"
import type { preview as previewNow } from "./train/preview.ts"
import type { probe as probeNow } from "./train/probe.ts"

export type { CheckOptions, CheckResult } from "./check/check.ts"
export type { Finding, MachineReport } from "./check/machine.ts"
export { type LoadConfigOptions, loadConfig } from "./config/load-config.ts"
export type { PreviewExample, PreviewSummary } from "./data/preview-rows.ts"
export type { DemoCallOptions, DemoDone, DemoRecord, RlDemoRecord } from "./demo/demo.ts"
export type { Run, RunOptions } from "./engines/engine.ts"
export { planOf, train } from "./engines/index.ts"
export type { JobKind, JobOptions, WrittenJob } from "./engines/torch/launch.ts"
export type { TorchOptions } from "./engines/torch/torch-run.ts"
export type { CompareOptions, EvaluationsComparison } from "./evaluate/compare.ts"
export type { Evaluated, EvaluateModelOptions } from "./evaluate/evaluate.ts"
export type {
  EvaluateRowsOptions,
  MeasuredRows,
  PairEvaluation,
  RowEvaluation,
} from "./evaluate/evaluate-rows.ts"
export type { SuiteResult } from "./evaluate/evaluation.ts"
export type { GradeOptions, GradeResult } from "./evaluate/grade.ts"
export type { ConvertOptions } from "./export/convert.ts"
export type { ExportOptions, ExportResult } from "./export/export.ts"
export type { HubExportOptions, HubExportResult } from "./export/hub.ts"
export type { InitOptions, WrittenConfig } from "./first-config/init.ts"
export type { Chat, ChatAnswer, ChatOptions } from "./generate/chat.ts"
export type { GenerationOptions, GenerationSummary } from "./generate/generation.ts"
export type { Begun } from "./host/begun.ts"
export type { Told, Warning } from "./host/told.ts"
export * from "./objectives/index.ts"
export type { RunsComparison } from "./report/comparison.ts"
export * from "./run/index.ts"
export type { ServeFolderOptions } from "./server/serve-folder.ts"
export type { StudyResult } from "./study/analysis.ts"
export type { StudyPlan, StudyPlanOptions, StudyRunOptions } from "./study/study.ts"
export type { TrackedEvent, Tracker } from "./trackers/index.ts"
export type { Fit, FitOptions, FitWay } from "./train/fit.ts"
export type { FitConfigOptions } from "./train/fit-config.ts"
export type { Preview, PreviewOptions } from "./train/preview.ts"
export type { ProbeOptions, ProbeResult } from "./train/probe.ts"
export type { RolloutPreview } from "./train/rollouts/preview-rollouts.ts"
export type { RunResult } from "./train/run.ts"

/** `dftune preview`: the rows as tokens, and which of them are trained. */
export const preview: typeof previewNow = later(
  async () => (await import("./train/preview.ts")).preview,
)

/**
 * `dftune probe`: how probable the model finds the rows, what a run will cost, which rate suits.
 */
export const probe: typeof probeNow = later(async () => (await import("./train/probe.ts")).probe)

/** `dftune probe --fit`: memory and time of full, LoRA and int4 training, before a download. */
export const fit: typeof fitNow = later(async () => (await import("./train/fit.ts")).fit)

/** The config that `fit` takes, of a model's name alone. */
export const fitConfig: typeof fitConfigNow = later(
  async () => (await import("./train/fit-config.ts")).fitConfig,
)

/** `dftune compare`: runs, or evaluations, side by side. */
export const compare: typeof compareNow = later(
  async () => (await import("./evaluate/compare.ts")).compare,
)

/** `dftune check`: fast against plain, on this machine, with the config's model and rows. */
export const check: typeof checkNow = later(async () => (await import("./check/check.ts")).check)

/** `dftune doctor`: what this machine can run. */
export const doctor: typeof examine = later(async () => (await import("./check/machine.ts")).doctor)

/**
 * `dftune generate`: the rows as they are sampled; `result` has their number and the time taken.
 */
export function generate(
  model: string,
  options: GenerationOptions,
): Begun<JsonObject, GenerationSummary> {
  return begun(async function* () {
    const { generation } = await import("./generate/generation.ts")
    return yield* generation(model, options)
  })
}

/** `dftune grade`: which samples are right, and rows of them for training. */
export const grade: typeof gradeNow = later(async () => (await import("./evaluate/grade.ts")).grade)

/** `dftune eval --suite`: benchmarks and files of problems. */
export const evaluate: typeof evaluateNow = later(
  async () => (await import("./evaluate/evaluate.ts")).evaluate,
)

/**
 * `dftune eval --data`: how probable one model, or two, find rows; how a reward model ranks pairs.
 */
export const evaluateRows: typeof evaluateRowsNow = later(
  async () => (await import("./evaluate/evaluate-rows.ts")).evaluateRows,
)

/** `dftune chat`: a conversation with a model. */
export const chat: typeof chatNow = later(async () => (await import("./generate/chat.ts")).chat)

/** `dftune export`: a model for other tools, read back and compared. */
export const exportModel: typeof exportNow = later(
  async () => (await import("./export/export.ts")).exportModel,
)

/** `dftune export --to hub`. */
export const exportToHub: typeof exportToHubNow = later(
  async () => (await import("./export/hub.ts")).exportToHub,
)

/** `dftune convert`: a GGUF or quantised model as a plain folder, and the other way. */
export const convert: typeof convertNow = later(
  async () => (await import("./export/convert.ts")).convert,
)

/** `dftune init`: a dftune.yaml with settings that fit a model and rows. */
export const init: typeof initNow = later(async () => (await import("./first-config/init.ts")).init)

/** `dftune demo`: SFT and DFT on the bundled model, with a page. */
export const demo: typeof demoNow = later(async () => (await import("./demo/demo.ts")).demo)

/** `dftune serve`: the page and the API of a folder of runs, on this machine alone. */
export const serve: typeof serveFolder = later(
  async () => (await import("./server/serve-folder.ts")).serveFolder,
)

/** `dftune study`: a grid of runs and evaluations, and what it has shown. */
export const study: typeof studyNow = later(async () => (await import("./study/study.ts")).study)

/** `dftune study --plan`: how small a difference a study can show. */
export const studyPlan: typeof studyPlanNow = later(
  async () => (await import("./study/study.ts")).studyPlan,
)

/** `dftune study --slurm`: a study as jobs. */
export const studyJobs: typeof studyJobsNow = later(
  async () => (await import("./study/study.ts")).studyJobs,
)

/**
 * `dftune launch torchrun`: a run of engine: torch here, on processes and nodes as torchrun is
 * told.
 */
export function launch(config: Config, options: TorchOptions = {}): Run {
  return begun(async function* () {
    const { trainWithTorch } = await import("./engines/torch/torch-run.ts")
    const run = trainWithTorch(config, options)
    yield* run
    return run.result
  })
}

/** `dftune launch slurm`, `kubernetes` and `skypilot`: the job that trains a run elsewhere. */
export const writeJob: typeof writeJobNow = later(
  async () => (await import("./engines/torch/launch.ts")).writeJob,
)
