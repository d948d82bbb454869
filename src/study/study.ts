/** What `dftune study` does. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { openSuite } from "../evaluate/index.ts"
import { smallestDifference } from "../evaluate/smallest-difference.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import { ownCommand } from "../host/own-command.ts"
import type { Told } from "../host/told.ts"
import { analyse, type StudyResult } from "./analysis.ts"
import { loadStudy, type Study } from "./load-study.ts"
import { runStudy } from "./run-study.ts"
import { readStudyEvents } from "./study-events.ts"
import { studyHtml, studyMarkdown } from "./study-report.ts"
import { writeStudyJobs } from "./study-slurm.ts"
import { studyTime } from "./study-time.ts"

export interface StudyRunOptions extends Omit<Told, "onWarning"> {
  /** Only these runs, by id: the report of all is left to another call. */
  readonly cells?: readonly string[] | undefined
  /** Try runs again that failed. */
  readonly retry?: boolean | undefined
  /** Run nothing: write the report of what is there. */
  readonly reportOnly?: boolean | undefined
}

/**
 * Runs what is missing of a study and writes its report.md and report.html; of a file of a study's
 * events it says what they show. What was interrupted goes on with the next call.
 *
 * @returns undefined where `cells` names a part of the study
 * @throws InputError for a study that is missing or wrong, or that another process runs
 */
export async function study(
  path: string,
  options: StudyRunOptions = {},
): Promise<StudyResult | undefined> {
  if (path.endsWith(".jsonl")) return shownBy(path)
  const loaded = await loadStudy(path)
  await refuseOtherStudy(loaded)
  const { cells, retry = false, reportOnly = false, onProgress, onNotice } = options
  if (!reportOnly) {
    await runStudy(loaded, {
      retry,
      signal: options.signal ?? new AbortController().signal,
      ...(cells ? { cells } : {}),
      ...(onProgress ? { onProgress } : {}),
      ...(onNotice ? { onCell: onNotice } : {}),
    })
  }
  // the jobs of an array end at different times; the last of them makes the report
  if (cells !== undefined) return undefined
  const result = await shownBy(loaded.folder)
  await writeFileAtomic(join(loaded.folder, "report.md"), studyMarkdown(result))
  await writeFileAtomic(join(loaded.folder, "report.html"), studyHtml(result))
  onNotice?.(`wrote ${join(loaded.folder, "report.md")} and report.html`)
  return result
}

/** @throws InputError where the folder has the events of a study of another name */
async function refuseOtherStudy({ folder, name, path }: Study): Promise<void> {
  const events = await readStudyEvents(folder)
  const named = events.find((event) => event.type === "study.contrasts")
  if (named === undefined || named.study === name) return
  throw new InputError(
    `${path}: output_dir ${folder} is of the study ${named.study}, and one report would speak of both; give another output_dir, or name: ${named.study} if this is that study`,
  )
}

async function shownBy(place: string): Promise<StudyResult> {
  if (!existsSync(place)) throw new InputError(`${place}: no such file or folder`)
  return analyse(await readStudyEvents(place))
}

export type StudyPlan = Awaited<ReturnType<typeof studyPlan>>

export interface StudyPlanOptions extends Pick<Told, "signal" | "onProgress"> {
  /** Time some steps and answers, to say how long it will take. */
  readonly timed?: boolean | undefined
}

/**
 * The runs of a study and how small a difference they can show; nothing is run.
 *
 * @throws InputError for a study that is missing or wrong
 */
export async function studyPlan(
  path: string,
  { timed = false, signal = new AbortController().signal, onProgress }: StudyPlanOptions = {},
) {
  const loaded = await loadStudy(path)
  const { design, fields } = loaded
  const { score, spread, problem_effect, seed_effect } = fields.assume
  const assumed = { score, spread, problemEffect: problem_effect, seedEffect: seed_effect }
  const evaluations = await Promise.all(
    fields.evaluations.map(async ({ name, suite, suite_dir, limit, n }) => {
      const problems = (await openSuite(suite, { folder: suite_dir, limit })).problems.length
      const contrasts = Math.max(design.contrasts.length, 1)
      const sizes = { problems, seeds: design.seeds.length, n, contrasts }
      return { name, ...sizes, smallest_difference: smallestDifference(assumed, sizes) }
    }),
  )
  const told = { signal, ...(onProgress ? { onProgress } : {}) }
  return {
    runs: design.cells.map(({ id }) => id),
    contrasts: design.contrasts,
    assume: fields.assume,
    evaluations,
    seconds: timed ? await studyTime(loaded, told) : undefined,
  }
}

/**
 * Writes the job files of a study for Slurm: an array of its runs, and the report after them.
 *
 * @returns the file to submit them with
 */
export async function studyJobs(path: string): Promise<string> {
  const [program, words] = ownCommand()
  return writeStudyJobs(await loadStudy(path), [program, ...words])
}
