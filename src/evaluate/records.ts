/** `SUITE.jsonl` of an evaluation's folder: every judged answer. */
import type { JsonObject } from "../formats/json.ts"
import { checkOutputFile, firstRowHas } from "../host/output-place.ts"
import { ownPlace } from "../host/own-place.ts"

/** One graded sample, a row of `SUITE.jsonl`. */
export type EvaluationRecord = JsonObject & {
  readonly id: string
  readonly problem: string
  readonly completion: string
  readonly finish_reason: string
  readonly correct: boolean
  readonly decided: boolean
  readonly extracted: string | null
  readonly gold: string | null
  readonly reason: string
}

export const recordsPath = (folder: string, suite: string): string =>
  ownPlace(folder, `${suite}.jsonl`)

/** Refuses to write over what no evaluation wrote, the suite's own file among it. */
export function checkRecordsFile(folder: string, suite: string): void {
  checkOutputFile(recordsPath(folder, suite), {
    option: "--out",
    wrote: (head) => firstRowHas(head, ["correct", "grader_version"]),
    writer: "dftune eval",
  })
}
