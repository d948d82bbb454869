import { readFileSync } from "node:fs"
import { expect } from "vitest"
import { openSafetensors } from "../../src/formats/index.ts"
import { MODELS } from "./golden-models.ts"

export { MODELS }

/** The first sequence of a golden model. */
export const goldenTokenIds = (family: string): number[] =>
  JSON.parse(readFileSync(`${MODELS}${family}/golden.json`, "utf8")).sequences[0].token_ids

/** Its logits by Transformers (by PEFT in the folder of an adapter). */
export async function goldenLogits(folder: string): Promise<Float32Array> {
  const reader = await openSafetensors(`${MODELS}${folder}/golden.safetensors`)
  const logits = await reader.readFloat32("logits.0")
  await reader.close()
  return logits
}

export function largestError(got: readonly number[], expected: Float32Array): number {
  expect(got.length).toBe(expected.length)
  return expected.reduce((most, value, i) => Math.max(most, Math.abs(got[i]! - value)), 0)
}
