import type { TensorToWrite } from "../formats/index.ts"
import type { Decoder } from "../models/index.ts"
import type { HostTensor } from "../runtime/index.ts"
import type { MicroBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY } from "./objective-head.ts"

const PREFIX = "old_logp."

/**
 * Log-probabilities under the policy as it was before a window of `updates` steps, for objectives
 * that compare with it (PPO's `old_logp`): measured once, when the window begins, for the tokens of
 * all its steps. A checkpoint inside a window keeps what its remaining steps need.
 */
export class OldLogprobs {
  readonly #updates: number
  /** By step, from 1: the supervised tokens of its micro-batches one after the other. */
  readonly #measured = new Map<number, Float32Array>()

  constructor(updates: number, saved: ReadonlyMap<string, HostTensor> = new Map()) {
    this.#updates = updates
    for (const [name, { data }] of saved) {
      if (!name.startsWith(PREFIX)) continue
      this.#measured.set(Number(name.slice(PREFIX.length)), data as Float32Array)
    }
  }

  /** The numbers of a step; `batchOf` gives the micro-batches of the window's other steps. */
  async ofStep(
    step: number,
    decoder: Decoder,
    batchOf: (step: number) => readonly MicroBatch[] | undefined,
  ): Promise<Float32Array> {
    if (!this.#measured.has(step)) {
      this.#measured.clear()
      const windowEnd = Math.ceil(step / this.#updates) * this.#updates
      for (let s = step; s <= windowEnd; s++) {
        const microBatches = batchOf(s)
        if (microBatches) this.#measured.set(s, await measured(decoder, microBatches))
      }
    }
    return this.#measured.get(step)!
  }

  /** What the steps after `step` still need. */
  tensorsAfter(step: number): TensorToWrite[] {
    return [...this.#measured]
      .filter(([s]) => s > step)
      .map(([s, values]) => ({
        name: `${PREFIX}${s}`,
        dtype: "F32",
        shape: [values.length],
        data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      }))
  }
}

async function measured(decoder: Decoder, microBatches: readonly MicroBatch[]) {
  const total = microBatches.reduce((sum, { pack }) => sum + pack.labels.length, 0)
  const values = new Float32Array(total)
  let at = 0
  for (const { pack } of microBatches) {
    if (pack.labels.length === 0) continue
    const { logp } = await decoder.evaluate(pack, CROSS_ENTROPY)
    values.set(logp!, at)
    at += pack.labels.length
  }
  return values
}
