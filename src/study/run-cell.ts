/** One model of a study: trained, asked, measured. */

import { existsSync, readdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/index.ts"
import { rowsOf } from "../data/row-objects.ts"
import { train } from "../engines/index.ts"
import { InputError } from "../errors.ts"
import { recordsPath } from "../evaluate/index.ts"
import { rowLosses } from "../evaluate/row-losses.ts"
import { makeFolder } from "../formats/atomic.ts"
import { ownPlace } from "../host/own-place.ts"
import { tidyDone } from "../run/run-folder.ts"
import { isLeftLocked, LOCK_FILE, lockFolder } from "../run/run-lock.ts"
import { openScoredModel } from "../train/scored-model.ts"
import { askedModel } from "./asked-model.ts"
import { cellDesign, checkMadeSo, questionHash } from "./cell-design.ts"
import { type AxisValue, type Cell, SAMPLE_SEEDS, SEED } from "./design.ts"
import type { Study } from "./load-study.ts"
import { answerOf, everyQuestion, type Question } from "./questions.ts"
import { readStudyEvents, type StudyEvent, studyLog } from "./study-events.ts"
import type { Losses } from "./study-schema.ts"

export interface CellOptions {
  readonly signal: AbortSignal
  /** Runs that failed are tried again, from their newest checkpoint. */
  readonly retry?: boolean
  readonly onProgress?: (text: string) => void
}

/** A seed of samples that no other run's samples have. */
const sampleSeed = (seed: number | null) => ((seed ?? -1) + 1) * SAMPLE_SEEDS

/**
 * Trains and asks one model, going on where an earlier call stopped; what failed is told as an
 * event and kept.
 *
 * @param chosen the values that were chosen for it, where some are
 * @throws InputError where its folder holds another design's results
 */
export async function runCell(
  study: Study,
  cell: Cell,
  chosen: AxisValue | undefined,
  { signal, onProgress, retry = false }: CellOptions,
): Promise<"done" | "failed"> {
  const folder = ownPlace(study.folder, "cells", cell.id)
  const output = ownPlace(folder, "run")
  const all = { ...cell.set, ...chosen?.set, ...(cell.seed === null ? {} : { [SEED]: cell.seed }) }
  const config: Config = { ...study.configOf(all, output), resume: cell.seed !== null }
  const told = (await readStudyEvents(study.folder)).filter(
    (event): event is Exclude<StudyEvent, { type: "study.contrasts" }> =>
      event.type !== "study.contrasts" && event.cell === cell.id,
  )
  const design = cellDesign(study, cell, config)
  checkMadeSo(study, cell, design, { folder, told, chosen })
  const unasked = everyQuestion(study, cell).filter((one) => answerOf(one, told) === undefined)
  const over = overAs(told, unasked, retry)
  if (over !== undefined) {
    // what a process left that was killed behind its last event
    if (isLeftLocked(folder)) lockFolder(folder)()
    if (over === "done") clearModels(study, cell, output)
    return over
  }
  const wasDone = told.some((event) => event.type === "cell.end" && event.reason === "done")
  if (wasDone && cell.seed !== null && !hasModel(output)) {
    const names = [...new Set(unasked.map(({ asked }) => asked.name))].join(", ")
    throw new InputError(
      `${folder}: its model is gone (keep_models: false), so it cannot be asked ${names}; to train it again remove the folder and ${cell.id}.jsonl of events`,
    )
  }
  if (told.length === 0) refuseUntold(folder, cell.id)
  makeFolder(folder)
  makeFolder(ownPlace(study.folder, "events"))
  const unlock = lockFolder(folder)
  const log = studyLog(study.folder, cell.id)
  const { id, arm, stage, seed, candidate } = cell
  const of = { cell: id, arm, stage, seed }
  const began = performance.now()
  const seconds = () => (performance.now() - began) / 1000
  try {
    if (told.length === 0) {
      const called = chosen === undefined ? {} : { chosen: chosen.label }
      log.append({ type: "cell.start", ...of, ...design, settings: all, ...called })
    }
    const model = seed === null ? config.model : await trained(config, { signal, onProgress })
    signal.throwIfAborted()
    await ask(study, { cell, model, folder, unasked, log, config }, { signal, onProgress })
    log.append({ type: "cell.end", ...of, reason: "done", seconds: seconds(), candidate })
    clearModels(study, cell, output)
    return "done"
  } catch (error) {
    signal.throwIfAborted()
    const message = error instanceof Error ? error.message : String(error)
    log.append({
      type: "cell.end",
      ...of,
      reason: "failed",
      seconds: seconds(),
      candidate,
      message,
    })
    return "failed"
  } finally {
    log.close()
    unlock()
  }
}

/** How a run ended, where nothing is left to do. */
function overAs(
  told: readonly StudyEvent[],
  unasked: readonly Question[],
  retry: boolean,
): "done" | "failed" | undefined {
  const end = told.findLast((event) => event.type === "cell.end")
  if (end === undefined) return undefined
  const isOver = end.reason === "done" ? unasked.length === 0 : !retry
  return isOver ? end.reason : undefined
}

/** A model that no event tells of may have been made with any settings. */
function refuseUntold(folder: string, id: string): void {
  const names = existsSync(folder) ? readdirSync(folder) : []
  if (names.every((name) => name.startsWith(LOCK_FILE))) return
  throw new InputError(
    `${folder}: holds results, and ${id}.jsonl of events, which says what they were made with, is not there; put it back, or remove the folder`,
  )
}

function clearModels({ fields }: Study, { seed }: Cell, run: string): void {
  if (fields.keep_models || seed === null) return
  for (const name of ["model", "checkpoints"])
    rmSync(join(run, name), { recursive: true, force: true })
}

const hasModel = (run: string): boolean =>
  ["config.json", "adapter_config.json"].some((name) => existsSync(join(run, "model", name)))

async function trained(
  config: Config,
  { signal, onProgress }: { signal: AbortSignal; onProgress: CellOptions["onProgress"] },
): Promise<string> {
  const model = join(config.output_dir, "model")
  if (hasModel(config.output_dir)) {
    // whole, for it is put there at once; its process may have died before it said so
    tidyDone(config.output_dir)
    return model
  }
  const run = train(config, { signal })
  for await (const event of run) {
    if (event.type === "step") onProgress?.(`step ${event.step}, NLL ${event.nll.toFixed(3)}`)
  }
  const result = await run.result
  signal.throwIfAborted()
  if (result.reason !== "done" || !result.model) throw new Error(`the run ended: ${result.reason}`)
  return result.model
}

interface AskParts {
  readonly cell: Cell
  readonly model: string
  readonly folder: string
  readonly unasked: readonly Question[]
  readonly log: ReturnType<typeof studyLog>
  readonly config: Config
}

async function ask(
  study: Study,
  { cell, model, folder, unasked, log, config }: AskParts,
  { signal, onProgress }: { signal: AbortSignal; onProgress: CellOptions["onProgress"] },
): Promise<void> {
  const { id, arm, stage, seed } = cell
  const of = { cell: id, arm, stage, seed }
  const toScore = unasked.filter((one) => one.kind === "score")
  if (toScore.length > 0) {
    const asked = await askedModel(model, {
      called: arm,
      engine: config.engine,
      server: study.fields.server,
      logs: folder,
      signal,
      onProgress,
    })
    try {
      for (const question of toScore) {
        const { asked: questions, decoding } = question
        const { name } = questions
        const place = ownPlace(folder, decoding === "greedy" ? decoding : `t-${decoding}`)
        await asked.ask(questions, { decoding, seed: sampleSeed(seed), folder: place })
        const found = await scoreOf(place, name)
        const hash = questionHash(question)
        log.append({ type: "score", ...of, evaluation: name, decoding, ...found, asked: hash })
        onProgress?.(`asked ${name}`)
      }
    } finally {
      await asked.close()
    }
  }
  for (const question of unasked) {
    if (question.kind !== "loss") continue
    const rows = await measured(model, question.asked, signal)
    const { name } = question.asked
    log.append({ type: "loss", ...of, name, rows, asked: questionHash(question) })
  }
}

async function measured(
  model: string,
  { data, max_rows, max_length }: Losses,
  signal: AbortSignal,
): Promise<Record<string, readonly [nll: number, tokens: number]>> {
  const scored = await openScoredModel(model, { signal })
  try {
    const rows = await rowLosses(scored, {
      files: [data].flat(),
      maxLength: max_length,
      maxRows: max_rows,
      signal,
    })
    return Object.fromEntries(rows.map(({ row, nll, tokens }) => [row, [nll, tokens] as const]))
  } finally {
    await scored.release()
  }
}

async function scoreOf(folder: string, suite: string) {
  const outcomes = new Map<string, string>() // a problem may be called as what every object has
  let [samples, tokens, ended] = [0, 0, 0]
  for await (const { row } of rowsOf(recordsPath(folder, suite))) {
    const id = String(row.id)
    outcomes.set(id, `${outcomes.get(id) ?? ""}${row.correct === true ? 1 : 0}`)
    samples++
    tokens += Number(row.tokens)
    ended += Number(row.finish_reason === "stop")
  }
  return {
    outcomes: Object.fromEntries(outcomes),
    tokens: tokens === 0 ? null : tokens / samples,
    ended: ended / samples,
  }
}
