export { type CheckOptions, type CheckResult, check } from "./check.ts"
export type { Comparison } from "./comparison.ts"
