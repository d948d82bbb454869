/** One model of a study: trained, asked, measured. */

import { createHash } from "node:crypto"
import { existsSync, rmSync } from "node:fs"
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
import { isLeftLocked, lockFolder } from "../run/run-lock.ts"
import { openScoredModel } from "../train/scored-model.ts"
import { type Asked, askedModel } from "./asked-model.ts"
import { type AxisValue, type Cell, SEED } from "./design.ts"
import type { Study } from "./load-study.ts"
import { readStudyEvents, type StudyEvent, studyLog } from "./study-events.ts"
import type { Choose, Decoding, Losses } from "./study-schema.ts"

export interface CellOptions {
  readonly signal: AbortSignal
  /** Runs that failed are tried again, from their newest checkpoint. */
  readonly retry?: boolean
  readonly onProgress?: (text: string) => void
}

/** What choices are asked goes by this name, and into no table of results. */
export const VALIDATION = "validation"

/** What a run's model is asked, and at which decodings. */
export function questionsOf(
  study: Study,
  cell: Pick<Cell, "stage">,
): { asked: Asked; decodings: readonly Decoding[] }[] {
  const { evaluations, choose, base } = study.fields
  if (cell.stage === "choose") {
    // on which runs it is asked is no part of what is asked: more seeds later leave them as they are
    const { decoding, seeds: _, ...asked } = choose as Choose
    return [{ asked: { ...asked, name: VALIDATION }, decodings: [decoding] }]
  }
  const more = cell.stage === "base" && base !== false ? base.temperatures : []
  return evaluations.map(({ decodings, ...asked }) => ({
    asked,
    decodings: [...new Set([...decodings, ...more])],
  }))
}

/** A seed of samples that no other run's samples have. */
const sampleSeed = (seed: number | null) => ((seed ?? -1) + 1) * 10_000_000

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
  const design = designHash(study, cell, config)
  const start = told.find((event) => event.type === "cell.start")
  if (start?.type === "cell.start" && start.design !== design) {
    const was = start.chosen
    if (chosen !== undefined && was !== undefined && was !== chosen.label) {
      throw new InputError(
        `${folder}: was made with ${was}, the best of the runs to choose by that were done then; now the best is ${chosen.label}. To make it again remove the folder and ${cell.id}.jsonl of events`,
      )
    }
    throw new InputError(
      `${folder}: was made with other settings or questions than ${study.path} has now; give another output_dir, or remove the folder and ${cell.id}.jsonl of events`,
    )
  }
  const end = told.findLast((event) => event.type === "cell.end")
  if (end?.type === "cell.end" && !(retry && end.reason === "failed")) {
    // what a process left that was killed behind its last event
    if (isLeftLocked(folder)) lockFolder(folder)()
    if (end.reason === "done") clearModels(study, cell, output)
    return end.reason
  }
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
      log.append({ type: "cell.start", ...of, design, settings: all, ...called })
    }
    const model = seed === null ? config.model : await trained(config, { signal, onProgress })
    signal.throwIfAborted()
    await ask(study, { cell, model, folder, told, log, config }, { signal, onProgress })
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

function clearModels({ fields }: Study, { seed }: Cell, run: string): void {
  if (fields.keep_models || seed === null) return
  for (const name of ["model", "checkpoints"])
    rmSync(join(run, name), { recursive: true, force: true })
}

function designHash(study: Study, cell: Cell, config: Config): string {
  const { output_dir: _, resume: __, ...rest } = config
  const { losses } = study.fields
  const text = JSON.stringify([
    rest,
    questionsOf(study, cell),
    cell.stage === "choose" ? [] : losses,
  ])
  return createHash("sha256").update(text).digest("hex").slice(0, 16)
}

async function trained(
  config: Config,
  { signal, onProgress }: { signal: AbortSignal; onProgress: CellOptions["onProgress"] },
): Promise<string> {
  const model = join(config.output_dir, "model")
  const isWritten = ["config.json", "adapter_config.json"].some((n) => existsSync(join(model, n)))
  if (isWritten) {
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
  readonly told: readonly StudyEvent[]
  readonly log: ReturnType<typeof studyLog>
  readonly config: Config
}

async function ask(
  study: Study,
  { cell, model, folder, told, log, config }: AskParts,
  { signal, onProgress }: { signal: AbortSignal; onProgress: CellOptions["onProgress"] },
): Promise<void> {
  const { id, arm, stage, seed } = cell
  const of = { cell: id, arm, stage, seed }
  const asked = await askedModel(model, {
    called: arm,
    engine: config.engine,
    server: study.fields.server,
    logs: folder,
    signal,
    onProgress,
  })
  try {
    for (const { asked: questions, decodings } of questionsOf(study, cell)) {
      const { name } = questions
      for (const decoding of decodings) {
        const same = (event: StudyEvent) =>
          event.type === "score" && event.evaluation === name && event.decoding === decoding
        if (told.some(same)) continue
        const place = ownPlace(folder, decoding === "greedy" ? decoding : `t-${decoding}`)
        await asked.ask(questions, { decoding, seed: sampleSeed(seed), folder: place })
        const found = await scoreOf(place, name)
        log.append({ type: "score", ...of, evaluation: name, decoding, ...found })
        onProgress?.(`asked ${name}`)
      }
    }
  } finally {
    await asked.close()
  }
  if (stage === "choose") return
  for (const losses of study.fields.losses) {
    const { name } = losses
    if (told.some((event) => event.type === "loss" && event.name === name)) continue
    log.append({ type: "loss", ...of, name, rows: await measured(model, losses, signal) })
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
  const outcomes: Record<string, string> = {}
  let [samples, tokens, ended] = [0, 0, 0]
  for await (const { row } of rowsOf(recordsPath(folder, suite))) {
    const id = String(row.id)
    outcomes[id] = `${outcomes[id] ?? ""}${row.correct === true ? 1 : 0}`
    samples++
    tokens += Number(row.tokens)
    ended += Number(row.finish_reason === "stop")
  }
  return { outcomes, tokens: tokens === 0 ? null : tokens / samples, ended: ended / samples }
}
