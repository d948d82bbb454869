import { existsSync } from "node:fs"
import { setTimeout } from "node:timers/promises"
import { isDeepStrictEqual } from "node:util"
import { comparable } from "../data/render.ts"
import { rowsOf } from "../data/row-objects.ts"
import { InputError } from "../errors.ts"
import { averageAtN, openSuite } from "../evaluate/index.ts"
import { makeFolder } from "../formats/atomic.ts"
import { ownPlace } from "../host/own-place.ts"
import { lockFolder } from "../run/run-lock.ts"
import type { Contrast } from "./contrasts.ts"
import type { AxisValue, Cell } from "./design.ts"
import type { Study } from "./load-study.ts"
import { VALIDATION } from "./questions.ts"
import { type CellOptions, runCell } from "./run-cell.ts"
import {
  type LossEvent,
  readStudyEvents,
  type ScoreEvent,
  type StudyEvent,
  studyLog,
} from "./study-events.ts"

export interface StudyOptions extends CellOptions {
  /** Only these runs, by id: a part of the study beside others, as the jobs of an array run it. */
  readonly cells?: readonly string[]
  readonly onCell?: (text: string) => void
}

/**
 * Runs what is missing of a study, one run after another.
 *
 * @throws InputError where another process runs the study, or one of the runs
 */
export async function runStudy(study: Study, options: StudyOptions): Promise<void> {
  const cells = chosenCells(study, options.cells)
  await checkQuestions(study)
  makeFolder(ownPlace(study.folder, "events"))
  const unlock = await lockStudy(study.folder, options)
  try {
    await nameContrasts(study)
  } catch (error) {
    unlock()
    throw error
  }
  if (options.cells !== undefined) unlock()
  try {
    for (const [i, cell] of cells.entries()) {
      options.signal.throwIfAborted()
      options.onCell?.(`${i + 1} of ${cells.length}: ${cell.id}`)
      const { value, missing } = await chosenFor(study, cell)
      if (missing === undefined) await runCell(study, cell, value, options)
      else options.onCell?.(`${cell.id}: left out, ${missing}`)
    }
  } finally {
    if (options.cells === undefined) unlock()
  }
}

/** Parts of a study come at once: each waits for the others to have named its contrasts. */
async function lockStudy(folder: string, { cells, signal }: StudyOptions): Promise<() => void> {
  const tries = cells === undefined ? 1 : 60
  for (let left = tries; ; left--) {
    try {
      return lockFolder(folder)
    } catch (error) {
      if (!(error instanceof InputError) || left === 1) throw error
      await setTimeout(500, undefined, { signal })
    }
  }
}

function chosenCells({ design }: Study, ids: readonly string[] | undefined): readonly Cell[] {
  if (ids === undefined) return design.cells
  return ids.map((id) => {
    const cell = design.cells.find((one) => one.id === id)
    if (cell !== undefined) return cell
    const known = design.cells.map((one) => one.id)
    throw new InputError(`--cells ${id}: no run of the study; runs are ${known.join(", ")}`)
  })
}

/** What is named is kept: a contrast that comes after results is marked so. */
async function nameContrasts({ folder, name, fields, design }: Study): Promise<void> {
  const events = await readStudyEvents(folder)
  const named = events.filter((event) => event.type === "study.contrasts")
  const before = named.flatMap(({ contrasts }) => contrasts)
  const added = design.contrasts.filter((one) => !before.some((old) => isDeepStrictEqual(old, one)))
  if (added.length === 0 && named.length > 0) return
  const log = studyLog(folder, "study")
  const tell = (contrasts: readonly Contrast[], after: boolean) =>
    log.append({
      type: "study.contrasts",
      study: name,
      about: fields.about,
      limits: fields.limits,
      arms: design.arms.map((arm) => arm.name),
      seeds: design.seeds,
      contrasts,
      after_results: after,
    })
  const known = new Set(events.flatMap((event) => (isResult(event) ? [event.stage] : [])))
  const bases = design.cells.flatMap(({ stage, arm }) => (stage === "base" ? [arm] : []))
  const isKnown = ({ a, b }: Contrast) =>
    known.has("final") || (known.has("base") && bases.includes(a) && bases.includes(b))
  const late = added.filter(isKnown)
  const early = added.filter((one) => !isKnown(one))
  if (early.length > 0 || late.length === 0) tell(early, known.has("final"))
  if (late.length > 0) tell(late, true)
  log.close()
}

const isResult = (event: StudyEvent): event is ScoreEvent | LossEvent =>
  event.type === "score" || event.type === "loss"

/** The value that was chosen for a run, where one is; or why none can be. */
async function chosenFor(
  study: Study,
  cell: Cell,
): Promise<{ readonly value?: AxisValue; readonly missing?: string }> {
  if (cell.stage !== "final" || study.design.candidates.length === 0) return {}
  const events = await readStudyEvents(study.folder)
  const left = unendedChoices(study, cell, events)
  if (left.length > 0) return { missing: `its value is chosen by ${left.join(", ")}, not run yet` }
  const value = choiceOf(study, cell, events)
  return value === undefined ? { missing: "no run to choose by is done" } : { value }
}

/** The runs that an arm's value is chosen by and that have neither been asked nor failed. */
function unendedChoices(
  { design }: Study,
  { arm }: Pick<Cell, "arm">,
  events: readonly StudyEvent[],
): string[] {
  const ended = new Set(events.flatMap((one) => (one.type === "cell.end" ? [one.cell] : [])))
  return design.cells.flatMap((one) =>
    one.stage === "choose" && one.arm === arm && !ended.has(one.id) ? [one.id] : [],
  )
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

/**
 * All that models are asked is read before the first is trained.
 *
 * @throws InputError where it is missing or damaged, a problem to choose by is one of an
 *   evaluation, or choices are sampled
 */
async function checkQuestions({ fields, path }: Study): Promise<void> {
  for (const { name, data, max_rows } of fields.losses) {
    for (const file of [data].flat()) {
      if (!existsSync(file)) throw new InputError(`${path}: losses: ${name}: ${file}: no such file`)
      let rows = 0
      for await (const _ of rowsOf(file)) if (++rows === max_rows) break
      if (rows === 0) throw new InputError(`${path}: losses: ${name}: ${file}: holds no rows`)
    }
  }
  for (const { name, suite, suite_dir, limit, decodings } of fields.evaluations) {
    const { judge } = await openSuite(suite, { folder: suite_dir, limit })
    if (judge === "choices" && decodings.some((decoding) => decoding !== "greedy"))
      throw new InputError(
        `evaluations: ${name} compares probabilities and samples nothing; give it decodings: [greedy]`,
      )
  }
  if (fields.choose === undefined) return
  const problems = async ({ suite, suite_dir, limit }: (typeof fields.evaluations)[number]) =>
    (await openSuite(suite, { folder: suite_dir, limit })).problems
  const own = await problems({ ...fields.choose, name: VALIDATION, decodings: ["greedy"] })
  const texts = new Set(own.map(({ problem }) => comparable(problem)))
  for (const evaluation of fields.evaluations) {
    const shared = (await problems(evaluation)).find(({ problem }) =>
      texts.has(comparable(problem)),
    )
    if (shared === undefined) continue
    throw new InputError(
      `choose: problem ${shared.id} is also in the evaluation ${evaluation.name}; choose on problems that no result uses`,
    )
  }
}
