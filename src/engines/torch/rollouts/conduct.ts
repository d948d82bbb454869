/**
 * The loop of a run that samples on `engine: torch`: what to draw, reward and train next is decided
 * here.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { assert, InputError } from "../../../errors.ts"
import { writeSafetensors } from "../../../formats/index.ts"
import type { EventBody } from "../../../run/events.ts"
import { storedTensors } from "../../../train/checkpoint.ts"
import { comparesWithReference } from "../../../train/objective-batches.ts"
import type { DataPlan } from "../../../train/plan.ts"
import { policyRollouts } from "../../../train/rollouts/policy-rollouts.ts"
import { Orders } from "./orders.ts"
import { rowOrder, torchMeasures, torchSource } from "./torch-policy.ts"

/** In a checkpoint of the worker: what is left of a rollout half used. */
const STATE_FILE = "rollout.safetensors"

export interface ConductParts {
  readonly plan: DataPlan
  /** `output_dir/torch`. */
  readonly folder: string
  /** A checkpoint, and its step. */
  readonly resume: string | null
  readonly step: number
  readonly tell: (event: EventBody) => void
  /** Aborted when the run is to end after a checkpoint. */
  readonly signal: AbortSignal
  /** Aborted when the worker is gone. */
  readonly gone: AbortSignal
}

function stateOf(checkpoint: string): string {
  const path = join(checkpoint, STATE_FILE)
  if (existsSync(path)) return path
  throw new InputError(`${checkpoint}: has no ${STATE_FILE}; it is of a run that samples nothing`)
}

/** To the last step, or to a checkpoint when the run is to stop. The worker ends the run. */
export async function conduct(parts: ConductParts): Promise<void> {
  const { plan, folder, resume, tell, signal, gone } = parts
  const { rollout, config, objective, order } = plan
  assert(rollout !== undefined && config.rollout !== null, "a run that samples")
  const own = plan.model
  assert(!("isForeign" in own), "rollouts are of the families that the local engine knows")
  const orders = new Orders(folder)
  const policy = { orders, gone }
  const stop = new AbortController()
  const stops = AbortSignal.any([signal, stop.signal, gone])
  const measures = torchMeasures(policy)
  const compares = comparesWithReference(objective, rollout.settings)
  const saved = resume === null ? undefined : await storedTensors(stateOf(resume))
  const rollouts = policyRollouts(
    {
      rollout,
      rewards: config.rollout.rewards,
      columns: config.data.columns,
      steps: order.steps,
      maskTruncated: config.rollout.mask_truncated_completions,
      file: { folder: config.output_dir, keep: config.rollout.keep },
      ...(saved ? { saved } : {}),
      signal: stops,
    },
    {
      source: torchSource(policy, {
        tokenizer: rollout.tokenizer,
        template: null,
        stopTokenIds: rollout.stopIds,
        vocabSize: own.shape.vocabSize,
        contextLength: own.shape.maxPositionEmbeddings,
      }),
      measure: measures.measure,
      ...(compares ? { reference: measures.reference } : {}),
      release: async () => {},
    },
  )
  const { batches } = rollouts
  const { save_steps: saveSteps, eval_steps: evalSteps } = config
  const evaluated = async (step: number) => {
    for await (const event of rollouts.evaluate(step)) tell(event)
  }
  const save = async (step: number) => {
    const state = join(folder, STATE_FILE)
    await writeSafetensors(state, batches.tensorsAfter(step))
    await orders.ask("save", { state }, gone)
  }
  let { step } = parts
  let isSaved = step
  try {
    if (step === 0) await evaluated(0)
    while (step < order.steps) {
      if (orders.stopping) stop.abort()
      if (stops.aborted) {
        gone.throwIfAborted()
        if (isSaved < step) await save(step)
        const message = `checkpoint at step ${step}; --resume continues`
        return await orders.end({ reason: "interrupted", message })
      }
      const taken = await batches.batch(step + 1)
      if (!taken) continue // asked to stop in the middle of it
      for (const event of taken.events ?? []) tell(event)
      if (taken.over) {
        await evaluated(step)
        break
      }
      if (taken.rows.length === 0) continue
      step += 1
      const asked = { rows: taken.rows.map(rowOrder), epoch: batches.epochAt(step) }
      await orders.ask("step", asked, gone)
      const last = step === order.steps
      if (last || (evalSteps > 0 && step % evalSteps === 0)) await evaluated(step)
      if (!last && saveSteps > 0 && step % saveSteps === 0) {
        await save(step)
        isSaved = step
      }
    }
    await orders.end({ reason: "done" })
  } finally {
    await rollouts.release()
  }
}
