export { heldOut } from "./held-out.ts"
export { layoutOf } from "./layout.ts"
export { LAYOUT_FILE, layoutText, readLayout } from "./layout-file.ts"
export type { Lint, LintCode } from "./lints.ts"
export { mendedFaults } from "./mended.ts"
export { epochOrder, type RunOrder, rowsPerEpoch, runOrder } from "./order.ts"
export { writeOrder } from "./order-file.ts"
export { overlapLints } from "./overlap.ts"
export { packRows } from "./packing.ts"
export {
  type PreparedData,
  type PrepareOptions,
  type PrepareProgress,
  prepareData,
  preparedKeyOf010,
  templateSetup,
} from "./prepare.ts"
export {
  type Manifest,
  openPrepared,
  type Prepared,
  type PreparedRow,
  type PreparedSource,
  readManifest,
} from "./prepared.ts"
export { preparedState } from "./prepared-check.ts"
export { type PreviewExample, type PreviewSummary, previewData } from "./preview-rows.ts"
export { PURPOSE_OF } from "./purpose.ts"
export {
  type Columns,
  type Example,
  type Message,
  type Purpose,
  readRow,
  type Turns,
} from "./rows/index.ts"
export { hashOfRows } from "./rows-hash.ts"
