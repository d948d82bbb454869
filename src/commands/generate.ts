import type { Command } from "commander"
import { typedPrompt } from "../data/layout.ts"
import type { RowPrompt } from "../data/rows/index.ts"
import { InputError } from "../errors.ts"
import type { JsonObject } from "../formats/json.ts"
import { openToRead } from "../formats/json-files.ts"
import {
  type Asking,
  askingOf,
  askingWarning,
  EndpointSource,
  endpointOrigin,
  type GenerateOptions,
  type GenerateSettings,
  generate,
  localModelOrigin,
  type ModelFolders,
  modelFolders,
  modelPrecision,
  openGenerator,
  openSampleFile,
  type PromptRow,
  promptOf,
  type RowSample,
  readPromptFile,
  type SampleFile,
  type SampleOrigin,
  type SampleSource,
  sampleRow,
  samplingRecord,
  templateFile,
  UnansweredCount,
} from "../generate/index.ts"
import { progressMeter } from "../report/progress.ts"
import { shortCount } from "../report/units.ts"
import type { Precision } from "../runtime/index.ts"
import { interruptible } from "./shell/interrupt.ts"
import { modelOf } from "./shell/model-argument.ts"
import {
  baseOption,
  type DeviceChoice,
  type DtypeChoice,
  deviceOption,
  dtypeOption,
  numberIn,
  stopOption,
  topKOption,
  wholeFrom,
} from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { sampleText } from "./shell/sample-text.ts"
import { colorsFor, print, printJson, progressLine, say, sayWarning } from "./shell/terminal.ts"

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

/** What is asked is there, before a model is looked for. */
async function checkPrompts({ prompts, prompt }: Options): Promise<void> {
  if ((prompts === undefined) === (prompt === undefined)) {
    throw new InputError("generate: expected either --prompts FILE.jsonl or --prompt TEXT")
  }
  if (prompts !== undefined) await (await openToRead(prompts)).close()
}

/** The prompts laid out as the model is asked, and the first of them before that. */
async function laidOut(
  { prompts, prompt, system }: Options,
  asking: Asking,
): Promise<{ readonly rows: readonly PromptRow[]; readonly first: RowPrompt }> {
  if (prompts === undefined) {
    const first = typedPrompt(prompt!, asking.trained, system)
    const row = { where: "--prompt", fields: { prompt: prompt! }, prompt: promptOf(first, asking) }
    return { rows: [row], first }
  }
  const read = await readPromptFile(prompts, asking.columns, system)
  const rows = read.map(({ where, fields, asked }) => ({
    where,
    fields,
    prompt: promptOf(asked, asking),
  }))
  return { rows, first: read[0]!.asked }
}

/** How to ask: `--chat` puts every text through the template, `--template` says which texts. */
const templateAsked = ({ chat, template }: Options) => template ?? (chat ? "true" : undefined)

function settingsOf(options: Options): GenerateSettings {
  const { temperature, topK, topP, minP, repetitionPenalty, maxNewTokens, stop } = options
  return {
    temperature,
    maxNewTokens,
    stop: stop.map(typed),
    ...(topK === undefined ? {} : { topK }),
    ...(topP === undefined ? {} : { topP }),
    ...(minP === undefined ? {} : { minP }),
    ...(repetitionPenalty === 1 ? {} : { repetitionPenalty }),
  }
}

/** Where a local model lies and the precision it is computed in. */
interface LocalModel {
  readonly folders: ModelFolders
  readonly dtype: Precision
}

async function localModel(
  model: string,
  { endpoint, base, dtype, device }: Options,
  signal: AbortSignal,
): Promise<LocalModel | undefined> {
  if (endpoint !== undefined) return undefined
  const folders = await modelFolders(model, { signal, base })
  return { folders, dtype: await modelPrecision(folders, { dtype, device }) }
}

/** What makes the samples: the model itself, and all that they depend on besides their prompts. */
function originOf(
  model: string,
  options: Options,
  rows: readonly PromptRow[],
  local: LocalModel | undefined,
): SampleOrigin {
  const { n, seed, system } = options
  const made = local
    ? localModelOrigin(model, local.folders, local.dtype)
    : endpointOrigin(model, options.endpoint!)
  const asked = rows[0]!.prompt
  const layout = {
    template: templateAsked(options) ?? "as trained",
    prompts: typeof asked === "string" ? "text" : "tokenIds" in asked ? "ids" : "messages",
    ...(system === undefined ? {} : { system }),
  }
  return { ...made, n, seed, ...layout, sampling: samplingRecord(settingsOf(options)) }
}

interface Opened {
  readonly source: SampleSource
  release(): Promise<void>
}

async function openSource(
  model: string,
  options: Options,
  signal: AbortSignal,
  show: (text: string) => void,
): Promise<Opened> {
  const { endpoint, concurrency, device, dtype, threads } = options
  if (endpoint !== undefined) {
    const apiKey = process.env.OPENAI_API_KEY
    const source = new EndpointSource({ url: endpoint, model, apiKey, concurrency, onRetry: say })
    return { source, release: async () => {} }
  }
  const opened = {
    ...{ signal, device, dtype, onProgress: show, base: options.base },
    ...templateFile(options.template),
    ...(threads === undefined ? {} : { threads }),
  }
  const source = await openGenerator(model, opened)
  return { source, release: () => source.close() }
}

/** Where samples go: a file that can be continued, or stdout in the order of the prompts. */
async function openOutput(
  rows: readonly PromptRow[],
  { out, n, seed, prompts, json }: Options,
  originNow: () => SampleOrigin,
) {
  const reads = prompts === undefined ? [] : [{ path: prompts, what: "the prompts" }]
  if (out !== undefined) {
    const origin = originNow()
    return openSampleFile(out, { rows, n, seed, reads, origin, onNotice: say })
  }
  const { dim } = colorsFor(process.stdout)
  const readable = process.stdout.isTTY === true && !json
  const alone = rows.length * n === 1
  const show = (row: JsonObject) =>
    readable ? print(sampleText(row, { alone, dim })) : printJson(row)
  const held = new Map<number, JsonObject>()
  let next = seed
  const file: SampleFile = {
    done: new Set(),
    append(row) {
      held.set(row.seed as number, row)
      for (; held.has(next); next++) {
        show(held.get(next)!)
        held.delete(next)
      }
    },
    finish: async () => {},
    close: () => {},
  }
  return file
}

async function run(word: string, options: Options, signal: AbortSignal): Promise<void> {
  if (options.out !== undefined) outliveReaders()
  const model = options.endpoint === undefined ? await modelOf(word) : word
  await checkPrompts(options)
  const { show, clear } = progressLine()
  const asking = await askingOf(model, {
    ...{ signal, onProgress: show, base: options.base, template: templateAsked(options) },
    endpoint: options.endpoint !== undefined,
  })
  const { rows, first } = await laidOut(options, asking)
  const warning = askingWarning(first, asking)
  if (warning) sayWarning("layout", warning.message, warning.hint)
  const local = await localModel(model, options, signal)
  const file = await openOutput(rows, options, () => originOf(model, options, rows, local))
  const wanted = rows.length * options.n
  try {
    if (file.done.size > 0) say(`${options.out}: ${file.done.size} of ${wanted} samples are there`)
    const written = file.done.size < wanted ? await sampleAll() : summary()
    await file.finish()
    if (options.out === undefined) return
    if (options.json) printJson({ out: options.out, ...written })
    else print(options.out)
  } finally {
    file.close()
  }

  function summary() {
    return { samples: wanted, new_samples: 0, tokens: 0, seconds: 0 }
  }

  async function sampleAll() {
    const { source, release } = await openSource(model, options, signal, show)
    const begun = performance.now()
    let tokens = 0
    let samples = 0
    const unanswered = new UnansweredCount()
    const meter = progressMeter("sampling", { unit: "samples" })
    const shown = () => {
      const seconds = (performance.now() - begun) / 1000
      const rate = `${shortCount(tokens)} tokens, ${(tokens / seconds).toFixed(1)}/s`
      show(`${meter(file.done.size + samples, wanted)} · ${rate}`)
    }
    const { n, seed } = options
    const asked: GenerateOptions = {
      source,
      rows,
      n,
      seed,
      done: file.done,
      signal,
      settings: settingsOf(options),
      keepGoing: true,
      onToken: () => {
        tokens++
        shown()
      },
    }
    try {
      for await (const sample of generate(asked)) {
        clear() // what is printed must not stand behind the line of progress
        file.append(sampleRow(rows[sample.row]!.fields, sample, local))
        samples++
        unanswered.add(sample)
        tokens += countedOnlyNow(sample, options)
        shown()
      }
    } finally {
      clear()
      if (signal.aborted && options.out !== undefined) {
        say(`${options.out}: ${file.done.size + samples} of ${wanted} samples; run again to go on`)
      }
      await release()
    }
    const seconds = (performance.now() - begun) / 1000
    say(
      `${samples} samples, ${tokens} tokens in ${seconds.toFixed(1)} s ` +
        `(${(tokens / seconds).toFixed(1)} tokens/s)`,
    )
    for (const line of unanswered.inWords()) say(line)
    if (samples > 0 && unanswered.errors === samples) {
      await file.finish()
      throw new InputError(`no prompt was answered; the first: ${unanswered.first}`)
    }
    return { samples: wanted, new_samples: samples, tokens, seconds, ...unanswered.record() }
  }
}

/** An endpoint does not stream: its tokens are known when the sample is there. */
function countedOnlyNow({ tokenIds, logprobs }: RowSample, { endpoint }: Options): number {
  return endpoint === undefined ? 0 : Math.max(tokenIds.length, logprobs.length)
}

export function command(verb: Command): void {
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
    .option("--temperature <t>", "0 is greedy", numberIn(0, 100), 1)
    .option("--top-p <p>", "only the most likely tokens that add up to p", numberIn(1e-9, 1))
    .option("--top-k <k>", "only the k most likely tokens; 0 and -1: all", topKOption)
    .option(
      "--min-p <p>",
      "only tokens at least p times as likely as the likeliest",
      numberIn(0, 1),
    )
    .option(
      "--repetition-penalty <x>",
      "on logits of tokens that were there before; 1 is none",
      numberIn(0.01, 100),
      1,
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
