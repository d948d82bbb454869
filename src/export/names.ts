/** The words that an export is asked for in. Runs in a browser too. */
import type { CheckpointDtype } from "../models/index.ts"

/** What `--to` takes. */
export const EXPORT_FORMATS = [
  "hf",
  "peft",
  "merged",
  "gguf",
  "ollama",
  "gguf-adapter",
  "int8",
  "int4",
] as const
export type ExportFormat = (typeof EXPORT_FORMATS)[number]

/** What `--dtype` takes, and what a checkpoint calls it. */
export const DTYPES = { f32: "float32", f16: "float16", bf16: "bfloat16" } as const satisfies {
  [name: string]: CheckpointDtype
}

/** What `--type` takes, and what a GGUF file calls it. */
export const GGUF_TYPE_NAMES = {
  f32: "F32",
  f16: "F16",
  bf16: "BF16",
  q8_0: "Q8_0",
  q4_0: "Q4_0",
  q6_k: "Q6_K",
  q5_k: "Q5_K",
  q4_k: "Q4_K",
} as const
export type GgufTypeName = keyof typeof GGUF_TYPE_NAMES

/** What `--rounding` takes. */
export const ROUNDINGS = ["nearest", "stochastic"] as const
export type Rounding = (typeof ROUNDINGS)[number]
