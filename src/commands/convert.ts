import { existsSync } from "node:fs"
import { join } from "node:path"
import { type Command, Option } from "commander"
import { type ExportVerbOptions, runExport, withExportOptions } from "./export.ts"
import { interruptible } from "./shell/interrupt.ts"

const FORMATS = ["hf", "gguf", "int8", "int4"] as const

interface Options extends Omit<ExportVerbOptions, "to" | "out"> {
  readonly to: (typeof FORMATS)[number]
}

/** An adapter is folded into its base: what comes out is a whole model. */
async function isAdapter(model: string): Promise<boolean> {
  const { weightsFolder } = await import("../generate/open-model.ts") // --help answers without it
  const folder = weightsFolder(model)
  return !existsSync(join(folder, "config.json")) && existsSync(join(folder, "adapter_config.json"))
}

export function command(verb: Command): void {
  withExportOptions(verb)
    .argument("<model>", "GGUF file, model folder, adapter folder or hub id")
    .argument("<dir>", "the folder to write")
    .addOption(new Option("--to <format>", "what to write").choices(FORMATS).default("hf"))
    .addHelpText(
      "after",
      `
A GGUF file, or a GPTQ, AWQ, bitsandbytes (NF4), FP8 or compressed-tensors checkpoint, becomes a plain
Hugging Face folder with the values it stands for (float32 unless --dtype says otherwise); --to goes
the other way. Everything is read back, and the largest difference is printed. See docs/export.md.`,
    )
    .action((model: string, dir: string, { to, ...options }: Options) =>
      interruptible(async (signal) => {
        const format = to === "hf" && (await isAdapter(model)) ? "merged" : to
        return runExport(model, { ...options, to: format, out: dir }, signal)
      }),
    )
}
