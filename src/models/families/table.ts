import { assert } from "../../errors.ts"
import type { Family } from "./family.ts"
import { gemma2 } from "./gemma2.ts"
import { gemma3_text } from "./gemma3_text.ts"
import { glm4 } from "./glm4.ts"
import { granite } from "./granite.ts"
import { llama } from "./llama.ts"
import { mistral } from "./mistral.ts"
import { olmo2 } from "./olmo2.ts"
import { olmo3 } from "./olmo3.ts"
import { olmoe } from "./olmoe.ts"
import { phi3 } from "./phi3.ts"
import { qwen2 } from "./qwen2.ts"
import { qwen3 } from "./qwen3.ts"
import { qwen3_moe } from "./qwen3_moe.ts"
import type { DecoderShape } from "./shape.ts"
import { smollm3 } from "./smollm3.ts"

/** The families by their `model_type`: one file and one line each. */
export const FAMILIES = {
  gemma2,
  gemma3_text,
  glm4,
  granite,
  llama,
  mistral,
  olmo2,
  olmo3,
  olmoe,
  phi3,
  qwen2,
  qwen3,
  qwen3_moe,
  smollm3,
} satisfies Readonly<Record<string, Family>>

export type ModelType = keyof typeof FAMILIES
export const MODEL_TYPES = Object.keys(FAMILIES) as readonly ModelType[]

export const isModelType = (name: unknown): name is ModelType =>
  typeof name === "string" && Object.hasOwn(FAMILIES, name)

/** The family whose `config` made this shape. */
export function familyOf({ modelType }: DecoderShape): Family {
  assert(isModelType(modelType), `no family ${modelType}`)
  return FAMILIES[modelType]
}
