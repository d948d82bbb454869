import type { Command } from "commander"
import { InputError } from "../errors.ts"
import { type GenerationOptions, generation } from "../generate/generation.ts"
import type { Prompt } from "../generate/sample-source.ts"
import { interruptible } from "./shell/interrupt.ts"
import {
  baseOption,
  type DeviceChoice,
  type DtypeChoice,
  deviceOption,
  dtypeOption,
  numberIn,
  samplingOptions,
  stopOption,
  wholeFrom,
} from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { askedText, sampleText } from "./shell/sample-text.ts"
import { colorsFor, print, printJson, say, sayWarned } from "./shell/terminal.ts"

interface Options {
  readonly prompts?: string
  readonly prompt?: string
  readonly n: number
  readonly temperature: number
  readonly topP?: number
  readonly topK?: number
  readonly minP?: number
  readonly repetitionPenalty: number
  readonly maxNewTokens: number
  readonly seed: number
  readonly stop: readonly string[]
  readonly chat?: boolean
  readonly system?: string
  readonly template?: string
  readonly out?: string
  readonly endpoint?: string
  readonly base?: string
  readonly concurrency: number
  readonly device: DeviceChoice
  readonly dtype: DtypeChoice
  readonly threads?: number
  readonly json?: boolean
}

/** `\n` typed in a shell is two characters. */
const typed = (text: string) => text.replaceAll("\\n", "\n").replaceAll("\\t", "\t")

/** How to ask: `--chat` puts every text through the template, `--template` says which texts. */
const templateAsked = ({ chat, template }: Options) => template ?? (chat ? "true" : undefined)

/** A file of prompts, or one that was typed. */
function promptsOf({ prompts, prompt }: Options): GenerationOptions["prompts"] {
  if ((prompts === undefined) === (prompt === undefined)) {
    throw new InputError("generate: expected either --prompts FILE.jsonl or --prompt TEXT")
  }
  return prompts ?? [prompt!]
}

async function run(model: string, options: Options, signal: AbortSignal): Promise<void> {
  const { prompts: _, prompt: __, chat: ___, template: ____, json = false, stop, ...rest } = options
  const { out, n, seed } = options
  if (out !== undefined) outliveReaders()
  const prompts = promptsOf(options)
  const line = progressLine()
  const told = { signal, onProgress: line.show, onNotice: say, onWarning: sayWarned }
  const template = templateAsked(options)
  let asked: readonly Prompt[] = []
  const rows = generation(model, {
    ...rest,
    ...told,
    ...{ template, prompts, stop: stop.map(typed) },
    onAsked: (all) => {
      asked = all
    },
  })
  const { dim } = colorsFor(process.stdout)
  const readable = process.stdout.isTTY === true && !json
  const alone = typeof prompts !== "string" && n === 1
  try {
    for (;;) {
      const { done, value } = await rows.next()
      if (done) {
        line.clear()
        if (out === undefined) return
        return json ? printJson(value) : print(out)
      }
      if (out !== undefined) continue
      if (!readable) {
        printJson(value)
        continue
      }
      const prompt = asked[Math.floor((Number(value.seed) - seed) / n)]
      print(sampleText(value, { asked: alone || !prompt ? undefined : askedText(prompt), dim }))
    }
  } finally {
    line.clear()
  }
}

export function command(verb: Command): void {
  samplingOptions(
    verb
      .argument(
        "<model>",
        "model folder, adapter folder, run folder, config file or hub id; with --endpoint a name",
      )
      .option(
        "--prompts <file>",
        "rows (JSONL, JSON, CSV, parquet) with prompt (text or messages), messages, or a question",
      )
      .option("--prompt <text>", "one prompt")
      .option("--n <count>", "samples of each prompt", wholeFrom(1), 1)
      .option("--temperature <t>", "0 is greedy", numberIn(0, 100), 1),
  )
    .option("--max-new-tokens <count>", "longest completion", wholeFrom(1), 512)
    .option("--seed <seed>", "sample i of row r has the seed SEED + r n + i", wholeFrom(0), 0)
    .option("--stop <text>", "ends a completion, not part of it; repeatable", stopOption, [])
    .option("--chat", "text prompts too go through the chat template, as the user's message")
    .option(
      "--template <which>",
      "auto, none, true or a .jinja file, in place of the layout of the model's rows",
    )
    .option("--system <text>", "what the model is told first, where a row has no system text")
    .option("--out <file>", "JSONL to write, or to go on with; stdout without")
    .option("--endpoint <url>", "an OpenAI-compatible server; OPENAI_API_KEY is sent when set")
    .option("--concurrency <count>", "requests to the endpoint at once", wholeFrom(1), 16)
    .addOption(baseOption())
    .addOption(deviceOption())
    .addOption(dtypeOption())
    .option("--threads <count>", "processor threads; all cores without", wholeFrom(1))
    .option(
      "--json",
      "print rows as JSON on a terminal too; with --out one document about what was done",
    )
    .addHelpText(
      "after",
      "\nOn a terminal the answers are printed as text; elsewhere, with --out or --json, as JSONL.\n" +
        "Each row of it: the prompt row's fields, completion, token_ids, logprobs, finish_reason, seed, dtype.\n" +
        "A sample depends on its prompt, settings and seed alone, not on what it is computed beside.",
    )
    .action((model: string, options: Options) =>
      interruptible((signal) => run(model, options, signal)),
    )
}
