import { assert } from "../../errors.ts"
import type { Family } from "./family.ts"
import { llama } from "./llama.ts"
import { mistral } from "./mistral.ts"
import { qwen2 } from "./qwen2.ts"
import { qwen3 } from "./qwen3.ts"
import type { DecoderShape } from "./shape.ts"

/** The families by their `model_type`: one file and one line each. */
export const FAMILIES = { llama, mistral, qwen2, qwen3 } satisfies Readonly<Record<string, Family>>

export type ModelType = keyof typeof FAMILIES
export const MODEL_TYPES = Object.keys(FAMILIES) as readonly ModelType[]

export const isModelType = (name: unknown): name is ModelType =>
  typeof name === "string" && Object.hasOwn(FAMILIES, name)

/** The family whose `config` made this shape. */
export function familyOf({ modelType }: DecoderShape): Family {
  assert(isModelType(modelType), `no family ${modelType}`)
  return FAMILIES[modelType]
}
