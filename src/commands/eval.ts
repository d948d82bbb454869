import { join } from "node:path"
import { type Command, Option } from "commander"
import { InputError } from "../errors.ts"
import { evaluate } from "../evaluate/evaluate.ts"
import { evaluateRows } from "../evaluate/evaluate-rows.ts"
import { MODES, type Mode, PROMPT_STYLES, type PromptStyle, SUITES } from "../evaluate/index.ts"
import { resultTable } from "../evaluate/report.ts"
import type { Told } from "../host/told.ts"
import { lossText, pairText } from "./shell/data-losses.ts"
import { interruptible } from "./shell/interrupt.ts"
import {
  baseOption,
  type DtypeChoice,
  dtypeOption,
  numberIn,
  samplingOptions,
  wholeFrom,
} from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson, say, sayWarned } from "./shell/terminal.ts"

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

async function run(model: string, options: Options, signal: AbortSignal): Promise<void> {
  outliveReaders()
  const line = progressLine()
  const told = { signal, onProgress: line.show, onNotice: say, onWarning: sayWarned }
  try {
    if (options.data !== undefined) return await showRows(model, options.data, options, told)
    if (options.against !== undefined) throw new InputError("eval: --against goes with --data")
    const names = (options.suite ?? "").split(",").map((name) => name.trim())
    const suites = names.filter(Boolean)
    const { folder, results } = await evaluate(model, { ...options, ...told, suites })
    line.clear()
    if (options.json) printJson({ folder, results })
    else print(resultTable(results))
    say(`wrote ${join(folder, "report.html")}`)
  } finally {
    line.clear()
  }
}

async function showRows(
  model: string,
  data: readonly string[],
  { suite, endpoint, json, ...options }: Options,
  told: Told,
): Promise<void> {
  if (suite !== undefined || endpoint !== undefined) {
    throw new InputError(
      "eval: --data measures rows by themselves; leave out --suite and --endpoint",
    )
  }
  const found = await evaluateRows(model, { ...options, ...told, data })
  if (json) printJson(found)
  else print(found.measured === "pairs" ? pairText(found) : lossText(found))
}

export function command(verb: Command): void {
  samplingOptions(
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
      .option("--max-length <tokens>", "with --data: rows are cut there", wholeFrom(2), 2048)
      .option("--suite-dir <dir>", "folder with the suites' files; the hub without")
      .addOption(
        new Option("--preset <name>", "the paper's prompts, settings and grader").choices([
          "paper",
        ]),
      )
      .option("--n <count>", "samples of each problem (1)", wholeFrom(1))
      .option("--temperature <t>", "0 is greedy (1)", numberIn(0, 100)),
  )
    .option("--max-new-tokens <count>", "longest completion (1024)", wholeFrom(1))
    .option("--seed <seed>", "sample i of problem r has the seed SEED + r n + i", wholeFrom(0), 0)
    .option("--limit <count>", "only the first problems of each suite", wholeFrom(1))
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
    .option("--concurrency <count>", "requests to the endpoint at once", wholeFrom(1), 16)
    .option("--threads <count>", "processor threads; all cores without", wholeFrom(1))
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
