import type { TensorToWrite } from "../formats/index.ts"
import type { Decoder } from "../models/index.ts"
import type { Objective } from "../objectives/index.ts"
import type { HostTensor } from "../runtime/index.ts"
import type { FixedBatches } from "./batches.ts"
import {
  type MicroBatch,
  type StepBatch,
  type StepBatchOptions,
  stepBatch,
  withColumn,
} from "./micro-batches.ts"
import { CROSS_ENTROPY, objectiveHead } from "./objective-head.ts"
import type { SplitOptions } from "./split-rows.ts"
import { heldTensor } from "./tensor-to-write.ts"

const PREFIX = "old_logp."

/**
 * Log-probabilities under the policy as it was before a window of `updates` steps, for objectives
 * that compare with it (PPO's `old_logp`): measured once, when the window begins, for the tokens of
 * all its steps. A checkpoint inside a window keeps what its remaining steps need.
 */
export class OldLogprobs {
  readonly #updates: number
  readonly #batches: FixedBatches
  readonly #options: StepBatchOptions
  /** By step, from 1: the supervised tokens of its micro-batches one after the other. */
  readonly #measured = new Map<number, Float32Array>()

  /** `saved` holds a checkpoint's tensors, its own (`tensorsAfter`) among them. */
  constructor(
    window: {
      /** Optimizer steps that are compared with one earlier policy. */
      readonly updates: number
      readonly batches: FixedBatches
      readonly options: StepBatchOptions
    },
    saved: ReadonlyMap<string, HostTensor> = new Map(),
  ) {
    this.#updates = window.updates
    this.#batches = window.batches
    this.#options = window.options
    for (const [name, { data }] of saved) {
      if (!name.startsWith(PREFIX)) continue
      this.#measured.set(Number(name.slice(PREFIX.length)), data as Float32Array)
    }
  }

  /** The batch of a step with its `old_logp`. */
  async inBatch(step: number, batch: StepBatch, decoder: Decoder): Promise<StepBatch> {
    if (!this.#measured.has(step)) await this.#measureWindow(step, batch, decoder)
    return withColumn(batch, "old_logp", this.#measured.get(step)!)
  }

  async #measureWindow(first: number, batch: StepBatch, decoder: Decoder): Promise<void> {
    this.#measured.clear()
    const windowEnd = Math.ceil(first / this.#updates) * this.#updates
    const last = Math.min(windowEnd, this.#batches.steps)
    for (let step = first; step <= last; step++) {
      const { microBatches } =
        step === first ? batch : stepBatch(this.#batches.batch(step).rows, this.#options)
      this.#measured.set(step, await measured(decoder, microBatches))
    }
  }

  /** What the steps after `step` still need. */
  tensorsAfter(step: number): TensorToWrite[] {
    return [...this.#measured]
      .filter(([s]) => s > step)
      .map(([s, values]) => heldTensor(`${PREFIX}${s}`, [values.length], values))
  }
}

async function measured(decoder: Decoder, microBatches: readonly MicroBatch[]) {
  const total = microBatches.reduce((sum, { pack }) => sum + pack.labels.length, 0)
  const values = new Float32Array(total)
  let at = 0
  for (const { pack } of microBatches) {
    if (pack.labels.length === 0) continue
    const { logp } = await decoder.evaluate(pack, CROSS_ENTROPY)
    values.set(logp, at)
    at += pack.labels.length
  }
  return values
}

/**
 * What a run of `objective` measures beforehand; undefined for one that compares with no earlier
 * policy.
 */
export function oldLogprobsFor(
  objective: Objective,
  batches: FixedBatches,
  split: SplitOptions,
  saved?: ReadonlyMap<string, HostTensor>,
): OldLogprobs | undefined {
  if (!objectiveHead(objective).needsOldLogprobs) return undefined
  const options = { ...split, normalization: objective.normalization }
  const updates = Math.max(1, Math.round(Number(objective.parameters.updates ?? 1)))
  return new OldLogprobs({ updates, batches, options }, saved)
}
