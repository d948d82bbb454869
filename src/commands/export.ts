import { type Command, Option } from "commander"
import { InputError } from "../errors.ts"
import type { ExportResult } from "../export/index.ts"
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
import { interruptible } from "./shell/interrupt.ts"
import { modelOf } from "./shell/model-argument.ts"
import { baseOption, roundingOption } from "./shell/option-values.ts"
import { outliveReaders } from "./shell/output.ts"
import { print, printJson, progressLine, say, sayWarning } from "./shell/terminal.ts"

export interface ExportVerbOptions {
  readonly to: ExportFormat
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

/** Writes, and says what was written and what reading it back has shown. */
export async function runExport(
  word: string,
  options: ExportVerbOptions,
  signal: AbortSignal,
): Promise<void> {
  outliveReaders()
  const { dtype, pre, json, add = [], weight, ...rest } = options
  if (weight !== undefined && !Number.isFinite(weight)) {
    throw new InputError("--weight: expected a number such as 0.5")
  }
  const { addedAdapter, exportModel } = await import("../export/index.ts") // --help answers without it
  const model = await modelOf(word)
  const { show, clear } = progressLine()
  try {
    const result = await exportModel(model, {
      ...rest,
      added: add.map(addedAdapter),
      ...(weight === undefined ? {} : { weight }),
      ...(dtype === undefined ? {} : { dtype: DTYPES[dtype] }),
      ...(pre === undefined ? {} : { preTokenizer: pre }),
      signal,
      onProgress: show,
    })
    clear()
    for (const note of result.notes) sayWarning("export", note, "")
    sayResult(result)
    const kept = keptText(result, options.rounding)
    if (kept?.hint !== undefined) sayWarning("lost-effect", kept.text, kept.hint)
    else if (kept !== undefined) say(kept.text)
    if (json) printJson(resultJson(result))
    else print(result.out)
  } finally {
    clear()
  }
}

const several = (value: string, before: readonly string[]): string[] => [...before, value]

export function command(verb: Command): void {
  verb
    .argument("<run>", "run folder, model folder, adapter folder, config file or hub id")
    .addOption(
      new Option("--to <format>", "what to write").choices(EXPORT_FORMATS).makeOptionMandatory(),
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
      several,
      [],
    )
    .option("--weight <number>", "what the run's own adapter counts, beside --add", Number)
    .option("--revision <revision>", "of a hub id: branch, tag or commit")
    .option("--force", "write into a folder that is not empty")
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
Everything is read back and compared before it is put in place. See docs/export.md.`,
    )
    .action((model: string, options: ExportVerbOptions) =>
      interruptible((signal) => runExport(model, options, signal)),
    )
}
