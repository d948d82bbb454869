import { existsSync, readdirSync } from "node:fs"
import { mkdir, rm, writeFile } from "node:fs/promises"
import { join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { type Command, InvalidArgumentError } from "commander"
import { demoConclusions } from "../demo/conclusions.ts"
import { type DemoResult, type DemoSettings, runDemo } from "../demo/experiment.ts"
import { demoPage } from "../demo/page.ts"
import { type RlDemoSettings, runRlDemo } from "../demo/rl.ts"
import { rlConclusions, rlPage, rlText } from "../demo/rl-page.ts"
import { demoText } from "../demo/table.ts"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { commandLine } from "../host/invocation.ts"
import { checkOutputFolder } from "../host/output-place.ts"
import { shortDuration } from "../report/units.ts"
import { interruptible } from "./shell/interrupt.ts"
import { outliveReaders } from "./shell/output.ts"
import { print, printJson, progressLine, say } from "./shell/terminal.ts"

interface Options {
  readonly out: string
  readonly seeds: number
  readonly quick?: boolean
  readonly rl?: boolean
  readonly json?: boolean
}

/** The model that comes with the package: beside `src` and `dist`. */
export const DEMO_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))

const FULL = { questions: 150, trainRows: 640, newFacts: 150, steps: { noisy: 40, facts: 60 } }
/** Too little to conclude anything from: it shows that all parts work. */
const QUICK = { questions: 12, trainRows: 64, newFacts: 24, steps: { noisy: 4, facts: 4 } }

const RL_FULL = { questions: 150, trainRows: 640, steps: { supervised: 25, grpo: 30 } }
const RL_QUICK = { questions: 12, trainRows: 64, steps: { supervised: 4, grpo: 2 } }

/** Marks a folder that a demo made, which the next one may clear of what a demo writes. */
const MARK = ".dftune-demo"
const OWN =
  /^(\.dftune-demo|data|report\.html|results\.json|((noisy|facts)-(sft|dft)|(sft|dft)(-short|-long)?|grpo)-\d+)$/

export function command(verb: Command): void {
  verb
    .option("--out <dir>", "folder for the data, the runs and report.html", "runs/demo")
    .option(
      "--seeds <n>",
      "fine-tuning runs of each objective (of demo --rl: of each arm)",
      wholeNumber,
      3,
    )
    .option("--rl", "longer sums than there are solutions for: SFT, DFT and GRPO")
    .option("--quick", "a few steps and questions only: shows that it works, proves nothing")
    .option("--json", "print the results as one JSON document on stdout")
    .action(async ({ out, seeds, quick = false, rl = false, json = false }: Options) => {
      await emptyFolder(out)
      if (rl) {
        const sizes = quick ? { ...RL_QUICK, seeds: 1 } : { ...RL_FULL, seeds }
        const own: RlDemoSettings = { model: DEMO_MODEL, folder: out, ...sizes }
        await interruptible((signal) => showRl(own, { signal, json, quick }))
        return
      }
      const settings: DemoSettings = {
        model: DEMO_MODEL,
        folder: out,
        ...(quick ? { ...QUICK, seeds: 1 } : { ...FULL, seeds }),
      }
      await interruptible((signal) => show(settings, { signal, json, quick }))
    })
}

function wholeNumber(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 1 && value <= 100) return value
  throw new InvalidArgumentError("expected a whole number from 1 to 100")
}

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

interface ShowOptions {
  readonly signal: AbortSignal
  readonly json: boolean
  readonly quick: boolean
}

/** Stages and progress with the time since the start, and the one line that is drawn over. */
function course(signal: AbortSignal) {
  const line = progressLine()
  const began = performance.now()
  const clock = () => shortDuration((performance.now() - began) / 1000).padStart(6)
  const onStage = (text: string) => {
    line.clear()
    say(`${clock()}  ${text}`)
  }
  const onProgress = (text: string) => line.show(`${clock()}  ${text}`)
  return { line, options: { signal, onStage, onProgress } }
}

async function showRl(
  settings: RlDemoSettings,
  { signal, json, quick }: ShowOptions,
): Promise<void> {
  outliveReaders()
  const { line, options } = course(signal)
  say(
    quick
      ? "SFT, DFT and GRPO, a few steps only: this shows that it works, and proves nothing."
      : "Longer sums than there are solutions for, on this machine alone: under ten minutes on two cores.",
  )
  const result = await runRlDemo(settings, options)
  line.clear()
  const conclusions = rlConclusions(result)
  const { scores, sets, ...rest } = result
  const record = {
    ...rest,
    sets: sets.map(({ questions, ...set }) => ({ ...set, questions: questions.length })),
    conclusions,
    scores: scores.map(({ outcomes: _, ...score }) => score),
  }
  const page = rlPage(result, conclusions)
  await tell(settings.folder, { page, record, text: rlText(result), conclusions, json })
}

interface Told {
  readonly page: string
  /** What stands in results.json. */
  readonly record: object
  /** The table for the terminal. */
  readonly text: string
  readonly conclusions: readonly string[]
  readonly json: boolean
}

/** Writes the page and `results.json` into the folder, and prints what is in them. */
async function tell(folder: string, { page, record, text, conclusions, json }: Told) {
  const path = resolve(folder, "report.html")
  await writeFileAtomic(path, page)
  await writeFileAtomic(join(folder, "results.json"), `${JSON.stringify(record, null, 2)}\n`)
  if (json) printJson(record)
  else {
    print(`\nPercent right, with 95 % intervals\n\n${text}\n`)
    for (const conclusion of conclusions) print(`- ${conclusion}`)
  }
  say(`\nreport: ${pathToFileURL(path).href}`)
}

async function show(settings: DemoSettings, { signal, json, quick }: ShowOptions): Promise<void> {
  outliveReaders()
  const { line, options } = course(signal)
  say(
    quick
      ? "SFT and DFT from one start, a few steps only: this shows that it works, and proves nothing."
      : "SFT and DFT from one start, on this machine alone: about three minutes on two cores.",
  )
  const result = await runDemo(settings, options)
  line.clear()
  const conclusions = demoConclusions(result)
  const page = demoPage(result, conclusions)
  const record = resultRecord(result, conclusions)
  const text = demoText(result, process.stdout.columns ?? 80)
  await tell(settings.folder, { page, record, text, conclusions, json })
  const chat = commandLine("chat", join(settings.folder, "noisy-dft-1"))
  say(`next:   ${chat}   (try: calc 12 + 5 - 3)`)
  say(`        ${commandLine("init")}   (a config for your own model and data)`)
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
