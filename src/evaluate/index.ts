export {
  compareTexts,
  extractAnswer,
  type Gold,
  GRADER_VERSION,
  type GradeItem,
  Grader,
  goldText,
  gradeAll,
  gradeUnbounded,
  MODES,
  type Mode,
  type Verdict,
} from "../grading/index.ts"
export {
  compareEvaluations,
  type EvaluationComparison,
  isEvaluation,
} from "./compare-evaluations.ts"
export {
  checkEvaluationFolder,
  type EvaluateOptions,
  type EvaluationSettings,
  evaluateSuite,
  type SuiteResult,
  verdictFields,
} from "./evaluation.ts"
export { type GradeFileOptions, type GradeSummary, gradeFile } from "./grade-file.ts"
export { PAIRINGS, type Pairing } from "./preference-rows.ts"
export { PAPER_PRESET, PROMPT_STYLES, type PromptStyle, promptIn } from "./prompts.ts"
export { type EvaluationRecord, recordsPath } from "./records.ts"
export { evaluationHtml, resultTable } from "./report.ts"
export { type SelectionOptions, selectCorrect } from "./selection.ts"
export * from "./statistics.ts"
export { suiteProgress } from "./suite-progress.ts"
export { openSuite, PAPER_SUITES, SUITES, suiteFile } from "./suites/index.ts"
export type { Problem, Suite } from "./suites/suite.ts"
