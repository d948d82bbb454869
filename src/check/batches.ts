/** How rows are put together and split must change nothing but rounding. */
import { loraSpec } from "../models/index.ts"
import { type Comparison, furthest, judged, type Row, relative } from "./comparison.ts"
import { logprobs, measured, withFrozen, withModel } from "./measurements.ts"
import type { Subject } from "./subject.ts"

const PACKING: Row = {
  name: "packing",
  compared: "log-probabilities of rows side by side in a pack with those of each row alone",
  usual: 2e-3,
}
const SPLIT: Row = {
  name: "micro-batches",
  compared: "a step's gradients over its micro-batches with the sum of each row's own",
  usual: 1e-4,
}
const ADAPTER: Row = {
  name: "adapter at its start",
  compared: "log-probabilities under a new adapter with those of its base",
  // Nothing is added, but the graphs round in another order: 3e-5 on SmolLM2-135M's 30 layers.
  usual: 5e-4,
}
const TOKENS = { normalization: "tokens" } as const

export async function batchComparisons(subject: Subject): Promise<Comparison[]> {
  return [await packing(subject), await microBatches(subject), await adapterAtStart(subject)]
}

async function packing(subject: Subject): Promise<Comparison> {
  const { rows, plan, tried } = subject
  // As the run has them: what the sides of a pair begin with is there once.
  const { together = false } = plan.split
  const all = { packing: true, capacity: Number.MAX_SAFE_INTEGER, together, ...TOKENS }
  return withFrozen(subject, plan.lora, async (decoder) => {
    let [difference, detail] = [0, ""]
    const [whole] = tried.stepBatch(rows, all).microBatches
    const packed = await logprobs(decoder, whole!.pack)
    let start = 0
    for (const row of whole!.rows) {
      const [part] = tried.stepBatch([row], all).microBatches
      const own = await logprobs(decoder, part!.pack)
      const apart = furthest(packed.subarray(start, start + own.length), own)
      if (!(apart <= difference)) {
        difference = apart
        detail = `most in ${row.source}:${row.line}`
      }
      start += own.length
    }
    return judged(PACKING, { difference, detail })
  })
}

async function microBatches(subject: Subject): Promise<Comparison> {
  const { rows, tried } = subject
  const alone = { packing: false, capacity: 1, ...TOKENS }
  return withModel(subject, "fp32", async (model) => {
    const sums = new Map<string, Float32Array>()
    for (const row of rows) {
      const { gradients } = await measured(model, tried.stepBatch([row], alone))
      for (const [name, part] of gradients) {
        const sum = sums.get(name) ?? new Float32Array(part.length)
        sums.set(name, sum)
        for (let i = 0; i < part.length; i++) sum[i]! += part[i]!
      }
    }
    const whole = await measured(model, tried.stepBatch(rows, alone))
    let [difference, detail] = [0, ""]
    for (const [name, sum] of sums) {
      const apart = relative(whole.gradients.get(name)!, sum)
      if (apart <= difference) continue
      difference = apart
      detail = `most in ${name}`
    }
    return judged(SPLIT, { difference, detail })
  })
}

/** Of the run's adapter, or of one on every linear layer. */
async function adapterAtStart(subject: Subject): Promise<Comparison> {
  const { plan, rows, tried } = subject
  const lora = plan.lora ?? loraSpec({ loraRank: 8, loraAlpha: 16 }, plan.model.shape)
  const all = { packing: true, capacity: Number.MAX_SAFE_INTEGER, ...TOKENS }
  const { pack } = tried.stepBatch(rows, all).microBatches[0]!
  const base = await withFrozen(subject, undefined, (decoder) => logprobs(decoder, pack))
  const under = await withFrozen(subject, lora, (decoder) => logprobs(decoder, pack))
  return judged(ADAPTER, { difference: furthest(under, base) })
}
