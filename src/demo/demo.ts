/** `dftune demo`: the embedded experiment, its page and its numbers. */
import { existsSync, readdirSync } from "node:fs"
import { mkdir, rm, writeFile } from "node:fs/promises"
import { join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { checkBounds } from "../generate/sampling-bounds.ts"
import { checkOutputFolder } from "../host/output-place.ts"
import type { Told } from "../host/told.ts"
import { demoConclusions } from "./conclusions.ts"
import { type DemoResult, runDemo } from "./experiment.ts"
import { demoPage } from "./page.ts"
import { type RlDemoResult, runRlDemo } from "./rl.ts"
import { rlConclusions, rlPage } from "./rl-page.ts"

/** The model that comes with the package: beside `src` and `dist`. */
export const DEMO_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))

const FULL = { questions: 150, trainRows: 640, newFacts: 150, steps: { noisy: 40, facts: 60 } }
/** Too little to conclude anything from: it shows that all parts work. */
const QUICK = { questions: 12, trainRows: 64, newFacts: 24, steps: { noisy: 4, facts: 4 } }

const RL_FULL = { questions: 150, trainRows: 640, steps: { supervised: 25, grpo: 30 } }
const RL_QUICK = { questions: 12, trainRows: 64, steps: { supervised: 4, grpo: 2 } }

export interface DemoCallOptions extends Omit<Told, "onWarning"> {
  /** For data, runs, report.html and results.json; runs/demo if left out. */
  readonly out?: string | undefined
  /** Fine-tuning runs of each objective; 3 if left out. */
  readonly seeds?: number | undefined
  /** A few steps and questions: shows that it works, proves nothing. */
  readonly quick?: boolean | undefined
  /** Longer sums than there are solutions for: SFT, DFT and GRPO. */
  readonly rl?: boolean | undefined
}

/** A demo that is done, with what its table and its page are made of. */
export type DemoDone = {
  /** The page. */
  readonly report: string
  readonly conclusions: readonly string[]
} & (
  | { readonly record: DemoRecord; readonly result: DemoResult; readonly rl?: never }
  | { readonly record: RlDemoRecord; readonly result?: never; readonly rl: RlDemoResult }
)

export type DemoRecord = ReturnType<typeof resultRecord>
export type RlDemoRecord = ReturnType<typeof rlRecord>

/**
 * Trains the bundled model with SFT and DFT from one start, asks all of them, and writes a page.
 * `record` is what `demo --json` prints.
 *
 * @throws InputError for a folder that holds something that no demo made
 */
export async function demo(options: DemoCallOptions = {}): Promise<DemoDone> {
  const { out = join("runs", "demo"), seeds = 3, quick = false, rl = false } = options
  checkBounds({ seeds })
  await emptyFolder(out)
  const { signal, onProgress, onNotice } = options
  const told = {
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
    ...(onNotice ? { onStage: onNotice } : {}),
  }
  const own = { model: DEMO_MODEL, folder: out, seeds: quick ? 1 : seeds }
  if (rl) {
    const result = await runRlDemo({ ...own, ...(quick ? RL_QUICK : RL_FULL) }, told)
    const conclusions = rlConclusions(result)
    const record = rlRecord(result, conclusions)
    const report = await written(out, rlPage(result, conclusions), record)
    return { report, conclusions, record, rl: result }
  }
  const result = await runDemo({ ...own, ...(quick ? QUICK : FULL) }, told)
  const conclusions = demoConclusions(result)
  const record = resultRecord(result, conclusions)
  const report = await written(out, demoPage(result, conclusions), record)
  return { report, conclusions, record, result }
}

/** Marks a folder that a demo made, which the next one may clear of what a demo writes. */
const MARK = ".dftune-demo"
const OWN =
  /^(\.dftune-demo|data|report\.html|results\.json|((noisy|facts)-(sft|dft)|(sft|dft)(-short|-long)?|grpo)-\d+)$/

async function emptyFolder(folder: string): Promise<void> {
  checkOutputFolder(folder, { option: "--out", reads: [{ path: DEMO_MODEL, what: "the model" }] })
  const entries = existsSync(folder) ? readdirSync(folder) : []
  if (entries.length > 0 && !entries.includes(MARK)) {
    throw new InputError(
      `${folder}: holds something that no demo made; give another folder with --out`,
    )
  }
  for (const name of entries.filter((entry) => OWN.test(entry))) {
    await rm(join(folder, name), { recursive: true })
  }
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, MARK), "")
}

/** Writes the page and `results.json`; the page's path. */
async function written(folder: string, page: string, record: object): Promise<string> {
  const path = resolve(folder, "report.html")
  await writeFileAtomic(path, page)
  await writeFileAtomic(join(folder, "results.json"), `${JSON.stringify(record, null, 2)}\n`)
  return path
}

function rlRecord({ scores, sets, ...rest }: RlDemoResult, conclusions: readonly string[]) {
  return {
    ...rest,
    sets: sets.map(({ questions, ...set }) => ({ ...set, questions: questions.length })),
    conclusions,
    scores: scores.map(({ outcomes: _, ...score }) => score),
  }
}

/** `results.json`: the numbers without every sample's tokens. */
function resultRecord(result: DemoResult, conclusions: readonly string[]) {
  const { scores, samples, ...rest } = result
  return {
    ...rest,
    tasks: rest.tasks.map(({ sets, ...task }) => ({
      ...task,
      sets: sets.map(({ name, about, questions }) => ({
        name,
        about,
        questions: questions.length,
      })),
    })),
    conclusions,
    scores: scores.map(({ outcomes: _, ...score }) => score),
    samples: samples.map(({ tokens: _, probabilities: __, ...sample }) => sample),
  }
}
