import { readdirSync, readFileSync } from "node:fs"
import type { GgufFamily } from "../../src/models/families/gguf-family.ts"
import { FAMILIES, modelConfig } from "../../src/models/index.ts"
import { MODELS } from "../models/golden-models.ts"

const configOf = (name: string) =>
  modelConfig(JSON.parse(readFileSync(`${MODELS}${name}/config.json`, "utf8")))

/** What a golden model is to llama.cpp; undefined where it cannot compute it. */
export function ggufOf(name: string): GgufFamily | undefined {
  const { modelType, shape } = configOf(name)
  const { gguf }: { readonly gguf?: GgufFamily } = FAMILIES[modelType]
  return gguf?.lacks(shape) === undefined ? gguf : undefined
}

/** The golden models that are written as GGUF. */
export const exportable = readdirSync(MODELS).filter(
  (name) => !name.includes(".") && ggufOf(name) !== undefined,
)
