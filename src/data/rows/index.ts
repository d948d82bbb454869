export type { Columns } from "./columns.ts"
export {
  type Example,
  isPaired,
  type Message,
  type Purpose,
  type Sampled,
  type Turns,
} from "./example.ts"
export { type RowPrompt, readPrompt } from "./prompt-row.ts"
export { type ReadRowOptions, type RowReading, readRow, rowReading } from "./read-row.ts"
