import { type Meter, progressMeter } from "../report/progress.ts"
import { shortCount } from "../report/units.ts"

/** What tells of a suite while it is asked and graded, as a line each time. */
export function suiteProgress(suite: string, tell: (line: string) => void) {
  const sampling = progressMeter(suite, { unit: "samples" })
  let grading: Meter | undefined
  return {
    onProgress(done: number, wanted: number, tokens?: number): void {
      const said = tokens === undefined ? "" : ` · ${shortCount(tokens)} tokens`
      tell(`${sampling(done, wanted)}${said}`)
    },
    onGraded(done: number, wanted: number): void {
      grading ??= progressMeter(`${suite}: grading`, { unit: "answers" })
      tell(grading(done, wanted))
    },
  }
}
