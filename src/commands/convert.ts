import { type Command, Option } from "commander"
import { CONVERSIONS, convert } from "../export/convert.ts"
import { DTYPES, GGUF_TYPE_NAMES } from "../export/names.ts"
import { type ExportVerbOptions, showExport } from "./export.ts"
import { interruptible } from "./shell/interrupt.ts"
import { baseOption, roundingOption } from "./shell/option-values.ts"

interface Options extends Omit<ExportVerbOptions, "to" | "out"> {
  readonly to: (typeof CONVERSIONS)[number]
}

export function command(verb: Command): void {
  verb
    .argument("<model>", "GGUF file, model folder, adapter folder, run folder or hub id")
    .argument("<dir>", "the folder to write")
    .addOption(new Option("--to <format>", "what to write").choices(CONVERSIONS).default("hf"))
    .addOption(
      new Option("--dtype <dtype>", "hf: other than the model's own").choices(Object.keys(DTYPES)),
    )
    .addOption(
      new Option("--type <type>", "gguf: other than the model's own").choices(
        Object.keys(GGUF_TYPE_NAMES),
      ),
    )
    .addOption(roundingOption())
    .option("--pre <name>", "gguf: llama.cpp's pre-tokenizer, where it is not recognised")
    .addOption(baseOption())
    .option("--revision <revision>", "of a hub id: branch, tag or commit")
    .option("--force", "write into a folder that is not empty")
    .option("--json", "print one JSON document about what was written")
    .addHelpText(
      "after",
      `
A GGUF file, or a GPTQ, AWQ, bitsandbytes (NF4), FP8 or compressed-tensors checkpoint, becomes a plain
Hugging Face folder with the values it stands for (float32 unless --dtype says otherwise); --to goes
the other way. Everything is read back, and the largest difference is printed. See docs/export.md.`,
    )
    .action((model: string, dir: string, { to, ...options }: Options) =>
      interruptible((signal) =>
        showExport({ ...options, to }, signal, (writing) =>
          convert(model, dir, { ...writing, to }),
        ),
      ),
    )
}
