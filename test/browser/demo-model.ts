import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

export const DEMO_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
export const DEMO_NAMES = [
  ..."config.json generation_config.json tokenizer.json tokenizer_config.json".split(" "),
  "model.safetensors",
]
/** The bundled model's files, as a folder in memory has them. */
export const DEMO_FILES = new Map(
  DEMO_NAMES.map((name) => [name, readFileSync(join(DEMO_MODEL, name))]),
)
