import type { Identity } from "../../src/train/run-identity.ts"

/** Of a checkpoint that belongs to no run. */
export const noIdentity: Identity = {
  settings: {},
  micro_batch_tokens: 256,
  weights: "",
  model: "",
  rows: "",
}
