export { type GgufReader, type GgufTensor, openGguf, writeGguf } from "../formats/index.ts"
export type { AdapterEffect, Unmeasured } from "./adapter-effect.ts"
export {
  type ExportedFile,
  type ExportOptions,
  type ExportResult,
  exportModel,
} from "./export.ts"
export { exportToHub, type HubExportOptions, type HubExportResult } from "./hub.ts"
export { EXPORT_FORMATS, type ExportFormat, GGUF_TYPE_NAMES, type GgufTypeName } from "./names.ts"
export { addedAdapter } from "./source-adapter.ts"
export type { Verified } from "./verify.ts"
