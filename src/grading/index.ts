export { extractAnswer, goldText } from "./grader/extract.ts"
export { type GradeItem, Grader, gradeAll } from "./grader/grader.ts"
export {
  compareTexts,
  type Gold,
  GRADER_VERSION,
  gradeUnbounded,
  MODES,
  type Mode,
  type Verdict,
} from "./grader/verdict.ts"
