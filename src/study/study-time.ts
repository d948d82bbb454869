/** How long a study will take, measured before it starts. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openSuite } from "../evaluate/index.ts"
import { stopwatch, wallClock } from "../train/estimate.ts"
import { probe } from "../train/probe.ts"
import { type Asked, askedModel } from "./asked-model.ts"
import { type Cell, SEED } from "./design.ts"
import type { Study } from "./load-study.ts"
import { questionsOf } from "./questions.ts"
import type { Decoding } from "./study-schema.ts"

/** Seconds of the whole study on this machine, one run after another. */
export interface StudyTime {
  /** By arm: its runs' training. */
  readonly training: Readonly<Record<string, number>>
  /** Of all models, without the rows of `losses`. */
  readonly asking: number
  readonly total: number
}

/** Problems asked to see how long one takes. */
const TIMED_PROBLEMS = 2

/**
 * Times some steps of one run of each arm, and two problems of each evaluation put to the model
 * before training. Trained models answer in other lengths, so the asking is the rougher part.
 */
export async function studyTime(
  study: Study,
  options: { readonly signal: AbortSignal; readonly onProgress?: (text: string) => void },
): Promise<StudyTime> {
  const folder = mkdtempSync(join(tmpdir(), "dftune-study-"))
  try {
    const training: Record<string, number> = {}
    for (const { name } of study.design.arms) {
      options.onProgress?.(`timing ${name}`)
      const cells = study.design.cells.filter(({ arm }) => arm === name)
      const { estimate } = await probe(configOf(study, cells[0]!, folder), options)
      training[name] = cells.length * (estimate?.seconds ?? 0)
    }
    const asking = await askingSeconds(study, folder, options)
    const total = Object.values(training).reduce((sum, seconds) => sum + seconds, asking)
    return { training, asking, total }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const configOf = (study: Study, { set, seed }: Cell, folder: string) =>
  study.configOf({ ...set, ...(seed === null ? {} : { [SEED]: seed }) }, join(folder, "run"))

async function askingSeconds(
  study: Study,
  folder: string,
  { signal, onProgress }: { signal: AbortSignal; onProgress?: (text: string) => void },
): Promise<number> {
  const { cells } = study.design
  const { model, engine } = configOf(study, cells[0]!, folder)
  const asked = await askedModel(model, {
    called: "timed",
    engine,
    server: study.fields.server,
    logs: folder,
    signal,
  })
  const timed = new Map<string, number>()
  let total = 0
  try {
    for (const cell of cells)
      for (const { asked: questions, decodings } of questionsOf(study, cell)) {
        const { problems } = await openSuite(questions.suite, {
          folder: questions.suite_dir,
          limit: questions.limit,
        })
        const secondsOf = async (decoding: Decoding) => {
          const key = JSON.stringify([questions, decoding])
          if (!timed.has(key)) {
            onProgress?.(`timing ${questions.name}`)
            const few: Asked = { ...questions, limit: Math.min(TIMED_PROBLEMS, problems.length) }
            const place = join(folder, String(timed.size))
            const work = () => asked.ask(few, { decoding, seed: 0, folder: place })
            const seconds = await stopwatch(wallClock)(work)
            timed.set(key, (seconds / few.limit!) * problems.length)
          }
          return timed.get(key)!
        }
        for (const decoding of decodings) total += await secondsOf(decoding)
      }
  } finally {
    await asked.close()
  }
  return total
}
