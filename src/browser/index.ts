/**
 * Fine-tuning in a browser (docs/browser.md): the same compiler, objectives, text, loop and
 * sampler.
 */
export type { Config } from "../config/resolve-config.ts"
export { InputError } from "../errors.ts"
export { type ByteSource, type Folder, memoryFolder } from "../formats/folder.ts"
export type { Sample, SampleRequest } from "../generate/sample-source.ts"
export {
  FAMILY,
  formulaExpression,
  formulaObjective,
  type Objective,
  objectiveFromConfig,
  objectiveToConfig,
  weightsAt,
} from "../objectives/index.ts"
export type { RunEvent, StepEvent } from "../run/events.ts"
export type { Device } from "../runtime/index.ts"
export type { DownloadProgress } from "./fetched-bytes.ts"
export { type DirectoryHandle, directoryFolder, fetchedFolder, fileFolder } from "./folders.ts"
export { type HubFolderOptions, hubFolder } from "./hub-folder.ts"
export { PackedBase } from "./packed-base.ts"
export { type SavedModel, SavedModels } from "./saved-models.ts"
export { type TabSettings, tabConfig } from "./tab-config.ts"
export { type MemoryNeed, memoryProblem } from "./tab-memory.ts"
export { connectTab, type MessageEnd, serveTab, type TabClient } from "./tab-messages.ts"
export { openTabModel, type TabModel, type TabModelOptions } from "./tab-model.ts"
export { rowValues, type TabRows, tabRows } from "./tab-rows.ts"
export { type SeenToken, TabRun, type TabRunOptions, tabMemory } from "./tab-run.ts"
export {
  type LoadOptions,
  type MemoryInfo,
  type ModelInfo,
  type ModelSource,
  type Progress,
  type RowsInfo,
  type SaidText,
  TabService,
} from "./tab-service.ts"
export {
  openWebDevice,
  threadsProblem,
  type WebDeviceKind,
  type WebDeviceOptions,
  type WebRuntime,
  webDeviceKind,
  webgpuProblem,
} from "./web-device.ts"
