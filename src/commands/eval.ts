import { existsSync } from "node:fs"
import { basename, dirname, join, resolve } from "node:path"
import { type Command, InvalidArgumentError, Option } from "commander"
import type { RowPrompt } from "../data/rows/index.ts"
import { InputError } from "../errors.ts"
import {
  checkEvaluationFolder,
  type EvaluationSettings,
  evaluateSuite,
  MODES,
  type Mode,
  openSuite,
  PAPER_PRESET,
  PAPER_SUITES,
  PROMPT_STYLES,
  type PromptStyle,
  promptIn,
  SUITES,
  type SuiteResult,
} from "../evaluate/index.ts"
import { evaluationHtml, resultTable } from "../evaluate/report.ts"
import { writeFileAtomic } from "../formats/atomic.ts"
import {
  type Asking,
  askingOf,
  askingWarning,
  EndpointSource,
  endpointOrigin,
  localModelOrigin,
  modelFolders,
  modelPrecision,
  openGenerator,
  type Prompt,
  type SampleOrigin,
  type SampleSource,
  templateFile,
} from "../generate/index.ts"
import { progressMeter } from "../report/progress.ts"
import { shortCount } from "../report/units.ts"
import { saysScores } from "../train/reward-model.ts"
import { openScoredModel } from "../train/scored-model.ts"
import { showDataLosses } from "./shell/data-losses.ts"
import { interruptible } from "./shell/interrupt.ts"
import { modelOf } from "./shell/model-argument.ts"
import { baseOption, type DtypeChoice, dtypeOption, topKOption } from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { showPairScores } from "./shell/pair-scores.ts"
import { print, printJson, progressLine, say, sayWarning } from "./shell/terminal.ts"

interface Options {
  readonly suite?: string
  readonly data?: string[]
  readonly against?: string
  readonly maxLength: number
  readonly suiteDir?: string
  readonly preset?: "paper"
  readonly n?: number
  readonly temperature?: number
  readonly topP?: number
  readonly topK?: number
  readonly minP?: number
  readonly repetitionPenalty: number
  readonly maxNewTokens?: number
  readonly seed: number
  readonly limit?: number
  readonly prompt?: PromptStyle
  readonly template?: string
  readonly mode?: Mode
  readonly out?: string
  readonly endpoint?: string
  readonly base?: string
  readonly concurrency: number
  readonly threads?: number
  readonly dtype: DtypeChoice
  readonly json?: boolean
}

const whole = (least: number) => (text: string) => {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= least) return value
  throw new InvalidArgumentError(`expected a whole number from ${least}`)
}
const number = (least: number, most: number) => (text: string) => {
  const value = Number(text)
  if (text.trim() !== "" && value >= least && value <= most) return value
  throw new InvalidArgumentError(`expected a number from ${least} to ${most}`)
}

/** Flags win over the preset, the preset over the defaults. */
function settingsOf(options: Options): EvaluationSettings {
  const preset = options.preset === "paper" ? PAPER_PRESET : undefined
  const topP = options.topP ?? preset?.topP
  return {
    n: options.n ?? preset?.n ?? 1,
    temperature: options.temperature ?? preset?.temperature ?? 1,
    maxNewTokens: options.maxNewTokens ?? preset?.maxNewTokens ?? 1024,
    seed: options.seed,
    prompt: options.prompt ?? preset?.prompt ?? "auto",
    mode: options.mode ?? preset?.mode ?? "lenient",
    stop: preset?.stop ?? [],
    ...(topP === undefined ? {} : { topP }),
    ...(options.topK === undefined ? {} : { topK: options.topK }),
    ...(options.minP === undefined ? {} : { minP: options.minP }),
    ...(options.repetitionPenalty === 1 ? {} : { repetitionPenalty: options.repetitionPenalty }),
  }
}

function opener(model: string, options: Options, signal: AbortSignal, show: (t: string) => void) {
  let opened: Promise<{ source: SampleSource; close: () => Promise<void> }> | undefined
  const { endpoint, concurrency, dtype, threads } = options
  const open = async () => {
    if (endpoint !== undefined) {
      const apiKey = process.env.OPENAI_API_KEY
      const source = new EndpointSource({ url: endpoint, model, apiKey, concurrency, onRetry: say })
      return { source, close: async () => {} }
    }
    const source = await openGenerator(model, {
      signal,
      dtype,
      base: options.base,
      onProgress: show,
      ...templateFile(options.template),
      ...(threads === undefined ? {} : { threads }),
    })
    return { source, close: () => source.close() }
  }
  return {
    /** One model serves all suites: it is let go of at the end. */
    async openSource() {
      opened ??= open()
      const { source } = await opened
      return { source, release: async () => {} }
    },
    async close() {
      if (opened) await (await opened).close()
    },
  }
}

async function originOf(
  model: string,
  { endpoint, base, dtype }: Options,
  signal: AbortSignal,
  show: (text: string) => void,
): Promise<SampleOrigin> {
  if (endpoint !== undefined) return endpointOrigin(model, endpoint)
  const folders = await modelFolders(model, { signal, onProgress: show, base })
  return localModelOrigin(model, folders, await modelPrecision(folders, { dtype }))
}

/** The first problem stands for all: they are laid out alike. */
function warnOfLayout(problem: string | undefined, style: PromptStyle, asking: Asking): void {
  if (problem === undefined) return
  const prompt = style === "auto" ? { prompt: problem, question: true as const } : undefined
  const asked = prompt ?? rowPrompt(promptIn(style, { problem }, asking))
  const warning = asked && askingWarning(asked, asking)
  if (warning) sayWarning("layout", warning.message, warning.hint)
}

function rowPrompt(prompt: Prompt): RowPrompt | undefined {
  if (typeof prompt === "string") return { prompt }
  return "tokenIds" in prompt
    ? undefined
    : { prompt: "messages" in prompt ? prompt.messages : prompt }
}

/** `evals/NAME`: a folder's own name (a run's, not its `model`), a hub id with its owner. */
function evaluationFolder(model: string): string {
  const plain = (name: string) => name.replace(/[^\w.-]+/g, "-").replace(/^-|-$/g, "")
  const former = join("evals", plain(model))
  if (!existsSync(model) || existsSync(former)) return former
  const folder = resolve(model)
  return join("evals", plain(basename(basename(folder) === "model" ? dirname(folder) : folder)))
}

async function run(word: string, options: Options, signal: AbortSignal): Promise<void> {
  outliveReaders()
  const model = options.endpoint === undefined ? await modelOf(word) : word
  if (options.data !== undefined) {
    if (options.suite !== undefined || options.endpoint !== undefined) {
      throw new InputError(
        "eval: --data measures rows by themselves; leave out --suite and --endpoint",
      )
    }
    const { data, json = false, against, ...rest } = options
    const other = against === undefined ? {} : { against: await modelOf(against) }
    const show = (await saysScores(model)) ? showPairScores : showDataLosses
    return show(model, { ...rest, ...other, data, json }, signal)
  }
  if (options.against !== undefined) throw new InputError("eval: --against goes with --data")
  const names = (options.suite ?? (options.preset ? PAPER_SUITES.join(",") : ""))
    .split(",")
    .map((name) => name.trim())
    .filter(Boolean)
  if (names.length === 0)
    throw new InputError(
      "eval: expected --suite NAME,... (or files of problems), or --data FILE of rows",
    )
  const load = { folder: options.suiteDir, limit: options.limit }
  const suites = []
  for (const name of names) suites.push(await openSuite(name, load))
  const settings = settingsOf(options)
  const folder = options.out ?? evaluationFolder(model)
  checkEvaluationFolder(
    folder,
    suites.map(({ name }) => name),
  )
  const { show, clear } = progressLine()
  const asking = await askingOf(model, {
    signal,
    onProgress: show,
    base: options.base,
    endpoint: options.endpoint !== undefined,
    template: options.template,
  })
  warnOfLayout(suites[0]?.problems[0]?.problem, settings.prompt, asking)
  const origin = await originOf(model, options, signal, show)
  const { openSource, close } = opener(model, options, signal, show)
  const { base, dtype, threads } = options
  const openScored = () =>
    openScoredModel(model, {
      signal,
      dtype,
      onProgress: show,
      ...(base === undefined ? {} : { base }),
      ...(threads === undefined ? {} : { threads }),
    })
  const results: SuiteResult[] = []
  try {
    for (const { name: suite, problems, judge } of suites) {
      const meter = progressMeter(suite, { unit: "samples" })
      const onProgress = (done: number, wanted: number, tokens?: number) =>
        show(
          `${meter(done, wanted)}${tokens === undefined ? "" : ` · ${shortCount(tokens)} tokens`}`,
        )
      const shared = { openSource, model, origin, suite, problems, judge, settings, folder, signal }
      const scored = options.endpoint === undefined ? { openScored } : {}
      const told = { onProgress, onNotice: say }
      const result = await evaluateSuite({ ...shared, ...told, ...scored, layout: asking })
      clear()
      results.push(result)
      if (result.without_completion === result.problems * result.n) {
        throw new InputError(`${suite}: no problem was answered; the first: ${result.first_error}`)
      }
      if (result.without_completion === 0) continue
      say(
        `${suite}: ${result.without_completion} samples have no completion and count as wrong; ` +
          `the first: ${result.first_error}`,
      )
    }
  } finally {
    clear()
    await close()
  }
  await writeFileAtomic(join(folder, "eval.json"), `${JSON.stringify(results, null, 2)}\n`)
  await writeFileAtomic(join(folder, "report.html"), await evaluationHtml(folder, results))
  if (options.json) printJson({ folder, results })
  else print(resultTable(results))
  say(`wrote ${join(folder, "report.html")}`)
}

export function command(verb: Command): void {
  verb
    .argument(
      "<model>",
      "model folder, adapter folder, run folder, config file or hub id; with --endpoint a name",
    )
    .option(
      "--suite <names>",
      `${SUITES.map(({ name }) => name).join(", ")}; files of rows; exact:FILE; comma separated`,
    )
    .option(
      "--data <file>",
      "rows: nll, perplexity, mean p and end-of-turn p of their targets, with intervals (repeatable)",
      (file: string, before: readonly string[] | undefined) => [...(before ?? []), file],
    )
    .option("--against <model>", "with --data: a second model, compared row by row")
    .option("--max-length <tokens>", "with --data: rows are cut there", whole(2), 2048)
    .option("--suite-dir <dir>", "folder with the suites' files; the hub without")
    .addOption(
      new Option("--preset <name>", "the paper's prompts, settings and grader").choices(["paper"]),
    )
    .option("--n <count>", "samples of each problem (1)", whole(1))
    .option("--temperature <t>", "0 is greedy (1)", number(0, 100))
    .option("--top-p <p>", "only the most likely tokens that add up to p", number(1e-9, 1))
    .option("--top-k <k>", "only the k most likely tokens; 0 and -1: all", topKOption)
    .option("--min-p <p>", "only tokens at least p times as likely as the likeliest", number(0, 1))
    .option(
      "--repetition-penalty <x>",
      "on logits of tokens that were there before; 1 is none",
      number(0.01, 100),
      1,
    )
    .option("--max-new-tokens <count>", "longest completion (1024)", whole(1))
    .option("--seed <seed>", "sample i of problem r has the seed SEED + r n + i", whole(0), 0)
    .option("--limit <count>", "only the first problems of each suite", whole(1))
    .addOption(
      new Option(
        "--prompt <style>",
        "how a problem is put (auto: as the model's rows were)",
      ).choices(PROMPT_STYLES),
    )
    .option(
      "--template <which>",
      "with --prompt auto: auto, none, true or a .jinja file, in place of the layout of the model's rows",
    )
    .addOption(new Option("--mode <mode>", "how answers are judged (lenient)").choices(MODES))
    .option(
      "--out <dir>",
      "folder for samples, records, eval.json and report.html; evals/MODEL without",
    )
    .option("--endpoint <url>", "an OpenAI-compatible server; OPENAI_API_KEY is sent when set")
    .option("--concurrency <count>", "requests to the endpoint at once", whole(1), 16)
    .option("--threads <count>", "processor threads; all cores without", whole(1))
    .addOption(baseOption())
    .addOption(dtypeOption())
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nAn interrupted evaluation goes on when the same command is run again.")
    .action((model: string, options: Options) =>
      interruptible((signal) => run(model, options, signal), {
        stopping: "stopping; run again to go on",
      }),
    )
}
