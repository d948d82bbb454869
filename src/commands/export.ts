import { type Command, Option } from "commander"
import { InputError } from "../errors.ts"
import type { ExportOptions, ExportResult } from "../export/index.ts"
import { keptText } from "../export/kept-text.ts"
import {
  DTYPES,
  EXPORT_FORMATS,
  type ExportFormat,
  GGUF_TYPE_NAMES,
  type GgufTypeName,
  type Rounding,
} from "../export/names.ts"
import { shortBytes, shortCount } from "../report/units.ts"
import { approval } from "./shell/approval.ts"
import { interruptible } from "./shell/interrupt.ts"
import { baseOption, collected, roundingOption } from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson, say, sayWarning } from "./shell/terminal.ts"

export interface ExportVerbOptions {
  readonly to: ExportFormat
  readonly repo?: string
  readonly public?: boolean
  readonly withSamples?: boolean
  readonly evaluation?: readonly string[]
  readonly yes?: boolean
  readonly out?: string
  readonly dtype?: keyof typeof DTYPES
  readonly type?: GgufTypeName
  readonly rounding?: Rounding
  readonly pre?: string
  readonly base?: string
  readonly add?: readonly string[]
  readonly weight?: number
  readonly revision?: string
  readonly force?: boolean
  readonly json?: boolean
}

function sayResult({ files, stored, verified }: ExportResult): void {
  for (const { file, bytes } of files) say(`wrote ${file} (${shortBytes(bytes)})`)
  const { tensors, values, largestError } = verified
  const exact = largestError === 0 ? "every value is the same" : "every value is within its bound"
  const error =
    largestError === 0 ? "" : `, at most ${largestError.toPrecision(2)} of its tensor's largest`
  say(`read back: ${tensors} tensors, ${shortCount(values)} values in ${stored}; ${exact}${error}`)
}

function resultJson({ verified: { largestError, ...counts }, ...result }: ExportResult) {
  return { ...result, verified: { ...counts, largest_error: largestError } }
}

/** What `exportModel` and `convert` are told alike. */
function writingOptions({ dtype, pre, type, rounding, base, revision, force }: ExportVerbOptions) {
  return {
    ...(type === undefined ? {} : { type }),
    ...(rounding === undefined ? {} : { rounding }),
    ...(base === undefined ? {} : { base }),
    ...(revision === undefined ? {} : { revision }),
    ...(force === undefined ? {} : { force }),
    ...(dtype === undefined ? {} : { dtype: DTYPES[dtype] }),
    ...(pre === undefined ? {} : { preTokenizer: pre }),
  }
}

type Writing = ReturnType<typeof writingOptions> & Pick<ExportOptions, "signal" | "onProgress">

/** Writes, and says what was written and what reading it back has shown. */
export async function showExport(
  options: ExportVerbOptions,
  signal: AbortSignal,
  write: (options: Writing & { readonly onNotice: typeof say }) => Promise<ExportResult>,
): Promise<void> {
  outliveReaders()
  const { show, clear } = progressLine()
  try {
    const told = { signal, onProgress: show, onNotice: say }
    const result = await write({ ...writingOptions(options), ...told })
    clear()
    for (const note of result.notes) sayWarning("export", note, "")
    sayResult(result)
    const kept = keptText(result, options.rounding)
    if (kept?.hint !== undefined) sayWarning("lost-effect", kept.text, kept.hint)
    else if (kept !== undefined) say(kept.text)
    if (options.json) printJson(resultJson(result))
    else print(result.out)
  } finally {
    clear()
  }
}

function runExport(model: string, options: ExportVerbOptions, signal: AbortSignal): Promise<void> {
  const { to, out, add = [], weight } = options
  if (weight !== undefined && !Number.isFinite(weight)) {
    throw new InputError("--weight: expected a number such as 0.5")
  }
  return showExport(options, signal, async (writing) => {
    const { addedAdapter, exportModel } = await import("../export/index.ts") // not for --help
    return exportModel(model, {
      ...writing,
      to,
      added: add.map(addedAdapter),
      ...(out === undefined ? {} : { out }),
      ...(weight === undefined ? {} : { weight }),
    })
  })
}

/** Options that say how files are made; the hub takes the model as it is. */
const NOT_FOR_HUB = ["out", "dtype", "type", "rounding", "pre", "base", "add", "weight", "revision"]
const FOR_HUB = ["repo", "public", "withSamples", "evaluation", "yes"]

/** Lists what would be sent, asks, and sends it. */
async function runHub(
  run: string,
  { repo, public: isPublic, withSamples, evaluation, yes, json, ...rest }: ExportVerbOptions,
  signal: AbortSignal,
): Promise<void> {
  outliveReaders()
  const given = Object.entries(rest).filter(
    ([name, value]) =>
      NOT_FOR_HUB.includes(name) && ![undefined, "nearest"].includes(value as never),
  )
  const foreign = given.find(([, value]) => !(Array.isArray(value) && value.length === 0))
  if (foreign)
    throw new InputError(
      `--${foreign[0]} is not for --to hub, which sends the run's model as it is`,
    )
  if (repo === undefined) throw new InputError("--to hub needs --repo OWNER/NAME")
  const approve = approval(yes === true)
  if (!approve) {
    throw new InputError(
      "--to hub lists the files and asks on a terminal; elsewhere --yes says that they may be sent",
    )
  }
  const { exportToHub } = await import("../export/index.ts") // not for --help
  const { show, clear } = progressLine()
  try {
    const result = await exportToHub(run, {
      repo,
      ...(isPublic ? { isPublic } : {}),
      ...(withSamples ? { withSamples } : {}),
      ...(evaluation ? { evaluations: evaluation } : {}),
      signal,
      onProgress: show,
      onNotice: say,
      approve: async (files) => {
        clear()
        for (const { file, bytes } of files) say(`${file} (${shortBytes(bytes)})`)
        const who = isPublic ? "everybody" : "nobody but you, where it is made now"
        return approve(`send these files to ${repo} on the hub, for ${who}?`)
      },
    })
    clear()
    for (const note of result.notes) sayWarning("export", note, "")
    sayResult({ ...result, files: [] })
    const { uploaded } = result
    if (!uploaded) say(`nothing was sent; the files lie in ${result.out}`)
    if (json) printJson({ ...resultJson(result), uploaded: uploaded ?? null })
    else print(uploaded?.url ?? result.out)
  } finally {
    clear()
  }
}

export function command(verb: Command): void {
  verb
    .argument("<run>", "run folder, model folder, adapter folder, config file or hub id")
    .addOption(
      new Option("--to <format>", "what to write, or the hub")
        .choices([...EXPORT_FORMATS, "hub"])
        .makeOptionMandatory(),
    )
    .option("--out <folder>", "where to; of a run, its export/<format> without")
    .addOption(
      new Option("--dtype <dtype>", "hf, merged: other than the model's own").choices(
        Object.keys(DTYPES),
      ),
    )
    .addOption(
      new Option("--type <type>", "gguf, ollama: other than the model's own").choices(
        Object.keys(GGUF_TYPE_NAMES),
      ),
    )
    .addOption(roundingOption())
    .option("--pre <name>", "gguf, ollama: llama.cpp's pre-tokenizer, where it is not recognised")
    .addOption(baseOption())
    .option(
      "--add <adapter>",
      "another adapter over the same base: FOLDER or FOLDER:0.5",
      collected,
      [],
    )
    .option("--weight <number>", "what the run's own adapter counts, beside --add", Number)
    .option("--revision <revision>", "of a hub id: branch, tag or commit")
    .option("--force", "write into a folder that is not empty")
    .option("--repo <owner/name>", "hub: where to; made, and private, if it is not there")
    .option("--public", "hub: a repository that is made is for everybody")
    .option(
      "--evaluation <folder>",
      "hub: of dftune eval --out, for the card (repeatable)",
      collected,
    )
    .option("--with-samples", "hub: also the run's samples, which hold texts of its rows")
    .option("--yes", "hub: send without asking")
    .option("--json", "print one JSON document about what was written")
    .addHelpText(
      "after",
      `
hf      a whole model in Hugging Face's layout: Transformers, vLLM, SGLang
peft    the adapter alone, for PEFT and for servers that load adapters
merged  the adapter folded into its base, in the base's own precision
gguf    one file for llama.cpp and what is built on it
gguf-adapter  the adapter alone, for llama.cpp's --lora
ollama  the same with a Modelfile: ollama create NAME -f Modelfile
int8, int4  linear layers in 8 or 4 bits (compressed-tensors): vLLM, Transformers
hub     a run's model or adapter and a card made from the run, to the Hugging Face hub (HF_TOKEN)
Everything is read back and compared before it is put in place. See docs/export.md.`,
    )
    .action((model: string, options: ExportVerbOptions) =>
      interruptible((signal) => {
        if ((options.to as string) === "hub") return runHub(model, options, signal)
        const foreign = FOR_HUB.find((name) => name in options)
        if (foreign)
          throw new InputError(
            `--${foreign === "withSamples" ? "with-samples" : foreign} is for --to hub`,
          )
        return runExport(model, options, signal)
      }),
    )
}
