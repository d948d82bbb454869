import { Grader } from "../../grading/grader/grader.ts"
import type { Mode } from "../../grading/grader/verdict.ts"
import { exactJudge } from "./exact.ts"
import { instructionJudge } from "./instructions.ts"
import type { SuiteJudge } from "./judge.ts"
import { programJudge } from "./programs.ts"

/** How a suite's completions are judged; math is the grader, in its modes. */
export const JUDGES = {
  math: async (mode: Mode): Promise<SuiteJudge> => {
    const grader = new Grader({ mode })
    return {
      judge: (items, signal) => grader.grade(items, signal),
      [Symbol.asyncDispose]: () => grader[Symbol.asyncDispose](),
    }
  },
  exact: async () => exactJudge(),
  instructions: async () => instructionJudge(),
  programs: (_mode: Mode, onNotice?: (message: string) => void) => programJudge(onNotice),
} as const satisfies Record<
  string,
  (mode: Mode, onNotice?: (message: string) => void) => Promise<SuiteJudge>
>

/** choices: no completion is judged; the answers' probabilities are compared. */
export type JudgeName = keyof typeof JUDGES | "choices"
