export { type Asking, type AskingOptions, askingOf, askingWarning, templateFile } from "./asking.ts"
export { type EndpointOptions, EndpointSource } from "./endpoint.ts"
export {
  type GenerateOptions,
  type GenerateSettings,
  generate,
  type RowSample,
} from "./generate.ts"
export { LocalSource, type LocalSourceOptions } from "./local-source.ts"

export {
  type Generator,
  type ModelFolders,
  type ModelFoldersOptions,
  modelFolders,
  modelPrecision,
  type OpenModel,
  type OpenModelOptions,
  openGenerator,
  openModel,
  weightsFolder,
} from "./open-model.ts"
export { philox, uniform } from "./philox.ts"
export { type PromptEncoding, promptIds } from "./prompt.ts"
export {
  type PromptLayout,
  type PromptRow,
  promptOf,
  promptRows,
  readPromptFile,
  readPromptRows,
} from "./prompt-rows.ts"
export { openSampleFile, type SampleFile, type SamplePlan, sampleRow } from "./sample-file.ts"
export {
  endpointOrigin,
  localModelOrigin,
  type SampleOrigin,
  samplingRecord,
} from "./sample-origin.ts"
export * from "./sample-source.ts"
export { argMax, drawToken, largestIndices, type Sampling } from "./sampling.ts"
export { SharedSource } from "./shared-source.ts"
export { type StopText, stopText } from "./stop-text.ts"
export { UnansweredCount } from "./unanswered.ts"
