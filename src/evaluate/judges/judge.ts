import type { Verdict } from "../../grading/grader/verdict.ts"

/** A completion, and what it is judged by: the problem's gold, as its suite wrote it. */
export interface JudgedItem {
  readonly completion: string
  readonly gold: string
}

/** Judges the completions of a suite. */
export interface SuiteJudge extends AsyncDisposable {
  /** Verdicts in the order of the items. */
  judge(items: readonly JudgedItem[], signal?: AbortSignal): Promise<Verdict[]>
}

interface Found {
  readonly correct: boolean
  /** What was judged: an answer, a program. */
  readonly extracted: string | null
  readonly gold: string | null
  readonly reason: string
}

/** A verdict that has no lenient side. */
export const plainVerdict = (
  { correct, ...found }: Found,
  version: string,
  decided = true,
): Verdict => ({
  correct,
  decided,
  found: found.extracted === null ? "nothing" : "whole",
  ...found,
  mode: "strict",
  strict: correct,
  lenient: correct,
  version,
})
