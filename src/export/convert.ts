import { existsSync } from "node:fs"
import { join } from "node:path"
import { modelNamed } from "../generate/model-named.ts"
import { weightsFolder } from "../generate/open-model.ts"
import { checkWord } from "../generate/sampling-bounds.ts"
import { type ExportOptions, type ExportResult, exportModel } from "./export.ts"

export const CONVERSIONS = ["hf", "gguf", "int8", "int4"] as const

export interface ConvertOptions extends Omit<ExportOptions, "to" | "out" | "added" | "weight"> {
  /** What to write; hf if left out. */
  readonly to?: (typeof CONVERSIONS)[number]
}

/**
 * Writes a GGUF file or a quantised checkpoint as a plain Hugging Face folder, or any model as GGUF
 * or in 4 or 8 bits. An adapter is folded into its base: what comes out is a whole model.
 *
 * @throws InputError as `exportModel`
 */
export async function convert(
  word: string,
  out: string,
  { to = "hf", ...options }: ConvertOptions = {},
): Promise<ExportResult> {
  checkWord("to", to, CONVERSIONS)
  const model = await modelNamed(word, options.onNotice)
  const format = to === "hf" && isAdapter(model) ? "merged" : to
  return exportModel(model, { ...options, to: format, out })
}

function isAdapter(model: string): boolean {
  const folder = weightsFolder(model)
  const holds = (name: string) => existsSync(join(folder, name))
  return !holds("config.json") && holds("adapter_config.json")
}
