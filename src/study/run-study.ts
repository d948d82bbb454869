import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { isDeepStrictEqual } from "node:util"
import { InputError } from "../errors.ts"
import { averageAtN, openSuite } from "../evaluate/index.ts"
import { lockFolder } from "../run/run-lock.ts"
import type { AxisValue, Cell } from "./design.ts"
import type { Study } from "./load-study.ts"
import { type CellOptions, runCell, VALIDATION } from "./run-cell.ts"
import { readStudyEvents, type StudyEvent, studyLog } from "./study-events.ts"

export interface StudyOptions extends CellOptions {
  readonly onCell?: (text: string) => void
}

/** Runs what is missing of a study, one run after another. */
export async function runStudy(study: Study, options: StudyOptions): Promise<void> {
  await checkValidation(study)
  mkdirSync(join(study.folder, "events"), { recursive: true })
  const unlock = lockFolder(study.folder)
  try {
    await nameContrasts(study)
    const { cells } = study.design
    for (const [i, cell] of cells.entries()) {
      options.signal.throwIfAborted()
      options.onCell?.(`${i + 1} of ${cells.length}: ${cell.id}`)
      const chosen =
        cell.stage === "final" && study.design.candidates.length > 0
          ? choiceOf(study, cell, await readStudyEvents(study.folder))
          : { set: {} }
      if (chosen === undefined)
        options.onCell?.(`${cell.id}: left out, no run to choose by is done`)
      else await runCell(study, cell, { ...cell.set, ...chosen.set }, options)
    }
  } finally {
    unlock()
  }
}

/** What is named is kept: a contrast that comes after results is marked so. */
async function nameContrasts({ folder, name, fields, design }: Study): Promise<void> {
  const events = await readStudyEvents(folder)
  const before = events.flatMap((event) =>
    event.type === "study.contrasts" ? event.contrasts : [],
  )
  const added = design.contrasts.filter((one) => !before.some((old) => isDeepStrictEqual(old, one)))
  if (added.length === 0 && before.length > 0) return
  const log = studyLog(folder, "study")
  log.append({
    type: "study.contrasts",
    study: name,
    about: fields.about,
    limits: fields.limits,
    arms: design.arms.map((arm) => arm.name),
    seeds: design.seeds,
    contrasts: added,
    after_results: events.some((event) => event.type === "score" && event.stage === "final"),
  })
  log.close()
}

/** The best value of an arm on the validation problems; of equals the first. */
export function choiceOf(
  { design }: Study,
  { arm }: Pick<Cell, "arm">,
  events: readonly StudyEvent[],
): AxisValue | undefined {
  const scored = design.candidates.flatMap((candidate) => {
    const ids = new Set(
      design.cells
        .filter((one) => one.arm === arm && one.candidate === candidate.label)
        .map(({ id }) => id),
    )
    const scores = events.flatMap((event) =>
      event.type === "score" && event.evaluation === VALIDATION && ids.has(event.cell)
        ? [averageAtN(Object.values(event.outcomes).map((text) => [...text].map((c) => c === "1")))]
        : [],
    )
    const score = scores.reduce((a, b) => a + b, 0) / scores.length
    return scores.length === 0 ? [] : [{ candidate, score }]
  })
  const best = Math.max(...scored.map(({ score }) => score))
  return scored.find(({ score }) => score === best)?.candidate
}

/** @throws InputError where a problem to choose by is one of an evaluation */
async function checkValidation({ fields }: Study): Promise<void> {
  if (fields.choose === undefined) return
  const problems = async ({ suite, suite_dir, limit }: (typeof fields.evaluations)[number]) =>
    (await openSuite(suite, { folder: suite_dir, limit })).problems
  const own = await problems({ ...fields.choose, name: VALIDATION, decodings: ["greedy"] })
  const texts = new Set(own.map(({ problem }) => problem.trim()))
  for (const evaluation of fields.evaluations) {
    const shared = (await problems(evaluation)).find(({ problem }) => texts.has(problem.trim()))
    if (shared === undefined) continue
    throw new InputError(
      `choose: problem ${shared.id} is also in the evaluation ${evaluation.name}; choose on problems that no result uses`,
    )
  }
}
