/** One model of a study: trained, asked, measured. */
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, rmSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../config/index.ts"
import { train } from "../engines/index.ts"
import { InputError } from "../errors.ts"
import { evaluateSuite, openSuite, recordsPath } from "../evaluate/index.ts"
import { rowLosses } from "../evaluate/row-losses.ts"
import { openScoredModel } from "../evaluate/scored-model.ts"
import { rowsOf } from "../evaluate/suites/suite.ts"
import {
  askingOf,
  localModelOrigin,
  modelFolders,
  modelPrecision,
  openGenerator,
} from "../generate/index.ts"
import type { Cell, Settings } from "./design.ts"
import { SEED } from "./design.ts"
import type { Study } from "./load-study.ts"
import { readStudyEvents, type StudyEvent, studyLog } from "./study-events.ts"
import type { Choose, Decoding, Evaluation } from "./study-schema.ts"

export interface CellOptions {
  readonly signal: AbortSignal
  readonly onProgress?: (text: string) => void
}

/** What choices are asked goes by this name, and into no table of results. */
export const VALIDATION = "validation"

type Asked = Omit<Evaluation, "decodings">

function questions(study: Study, cell: Cell): { asked: Asked; decodings: readonly Decoding[] }[] {
  const { evaluations, choose, base } = study.fields
  if (cell.stage === "choose") {
    const { decoding, ...asked } = choose as Choose
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
 * @param settings the cell's, with the values that were chosen
 * @throws InputError where its folder holds another design's results
 */
export async function runCell(
  study: Study,
  cell: Cell,
  settings: Settings,
  { signal, onProgress }: CellOptions,
): Promise<"done" | "failed"> {
  const folder = join(study.folder, "cells", cell.id)
  const output = join(folder, "run")
  const all = { ...settings, ...(cell.seed === null ? {} : { [SEED]: cell.seed }) }
  const config: Config = { ...study.configOf(all, output), resume: cell.seed !== null }
  const told = (await readStudyEvents(study.folder)).filter(
    (event): event is Exclude<StudyEvent, { type: "study.contrasts" }> =>
      event.type !== "study.contrasts" && event.cell === cell.id,
  )
  const design = designHash(study, cell, config)
  const other = told.find((event) => event.type === "cell.start" && event.design !== design)
  if (other !== undefined) {
    throw new InputError(
      `${folder}: was made with other settings or questions than ${study.path} has now; give another output_dir, or remove the folder and ${cell.id}.jsonl of events`,
    )
  }
  const end = told.find((event) => event.type === "cell.end")
  if (end?.type === "cell.end") return end.reason
  mkdirSync(join(study.folder, "events"), { recursive: true })
  const log = studyLog(study.folder, cell.id)
  const { id, arm, stage, seed, candidate } = cell
  const of = { cell: id, arm, stage, seed }
  const began = performance.now()
  const seconds = () => (performance.now() - began) / 1000
  try {
    if (told.length === 0) log.append({ type: "cell.start", ...of, design, settings: all })
    const model = seed === null ? config.model : await trained(config, { signal, onProgress })
    signal.throwIfAborted()
    await ask(study, { cell, model, folder, told, log, config }, { signal, onProgress })
    log.append({ type: "cell.end", ...of, reason: "done", seconds: seconds(), candidate })
    if (!study.fields.keep_models && seed !== null) clear(output)
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
  }
}

function clear(run: string): void {
  for (const name of ["model", "checkpoints"])
    rmSync(join(run, name), { recursive: true, force: true })
}

function designHash(study: Study, cell: Cell, config: Config): string {
  const { output_dir: _, resume: __, ...rest } = config
  const { losses } = study.fields
  const text = JSON.stringify([rest, questions(study, cell), cell.stage === "choose" ? [] : losses])
  return createHash("sha256").update(text).digest("hex").slice(0, 16)
}

async function trained(
  config: Config,
  { signal, onProgress }: { signal: AbortSignal; onProgress: CellOptions["onProgress"] },
): Promise<string> {
  const model = join(config.output_dir, "model")
  if (existsSync(join(model, "config.json")) || existsSync(join(model, "adapter_config.json"))) {
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
  const asking = await askingOf(model, { signal })
  const folders = await modelFolders(model, { signal })
  const origin = localModelOrigin(model, folders, await modelPrecision(folders))
  const threads = config.engine.name === "onnx" ? config.engine.threads : "auto"
  const options = { signal, ...(threads === "auto" ? {} : { threads }) }
  let opened: ReturnType<typeof openGenerator> | undefined
  const openSource = async () => {
    opened ??= openGenerator(model, options)
    return { source: await opened, release: async () => {} }
  }
  try {
    for (const { asked, decodings } of questions(study, cell)) {
      const { name, suite, suite_dir, limit } = asked
      const { problems } = await openSuite(suite, { folder: suite_dir, limit })
      for (const decoding of decodings) {
        const same = (event: StudyEvent) =>
          event.type === "score" && event.evaluation === name && event.decoding === decoding
        if (told.some(same)) continue
        const greedy = decoding === "greedy"
        const place = join(folder, greedy ? "greedy" : `t-${decoding}`)
        const settings = {
          n: greedy ? 1 : asked.n,
          temperature: greedy ? 0 : decoding,
          maxNewTokens: asked.max_new_tokens,
          seed: sampleSeed(seed),
          prompt: asked.prompt,
          mode: asked.mode,
          stop: asked.stop,
        }
        const shared = {
          openSource,
          model: arm,
          origin,
          problems,
          settings,
          layout: asking,
          signal,
        }
        await evaluateSuite({ ...shared, suite: name, folder: place })
        const found = await scoreOf(place, name)
        log.append({ type: "score", ...of, evaluation: name, decoding, ...found })
        onProgress?.(`asked ${name}`)
      }
    }
  } finally {
    if (opened) await (await opened).close()
  }
  if (stage === "choose") return
  for (const { name, data, max_rows, max_length } of study.fields.losses) {
    if (told.some((event) => event.type === "loss" && event.name === name)) continue
    const scored = await openScoredModel(model, { signal })
    try {
      const rows = await rowLosses(scored, {
        files: [data].flat(),
        maxLength: max_length,
        maxRows: max_rows,
        signal,
      })
      const kept = Object.fromEntries(
        rows.map(({ row, nll, tokens }) => [row, [nll, tokens] as const]),
      )
      log.append({ type: "loss", ...of, name, rows: kept })
    } finally {
      await scored.release()
    }
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
