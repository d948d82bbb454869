export {
  EXPORT_FORMATS,
  type ExportedFile,
  type ExportFormat,
  type ExportOptions,
  type ExportResult,
  exportModel,
} from "./export.ts"
export { GGUF_TYPE_NAMES, type GgufTypeName } from "./source.ts"
export type { Verified } from "./verify.ts"
