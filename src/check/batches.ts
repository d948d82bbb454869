/** How rows are put together and split must change nothing but rounding. */
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
  compared: "a step's mean gradients over its micro-batches with those of each row's own",
  usual: 1e-4,
}
const TOKENS = { normalization: "tokens" } as const

export async function batchComparisons(subject: Subject): Promise<Comparison[]> {
  return [await packing(subject), await microBatches(subject)]
}

async function packing(subject: Subject): Promise<Comparison> {
  const { rows, plan, tried } = subject
  // As the run has them: what the sides of a pair begin with is there once.
  const { together = false } = plan.split
  const all = { packing: true, capacity: Number.MAX_SAFE_INTEGER, together, ...TOKENS }
  const { lora, quantization } = plan
  return withFrozen(subject, { lora, quantization }, async (decoder) => {
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
    let tokens = 0
    for (const row of rows) {
      const { gradients, divisor } = await measured(model, tried.stepBatch([row], alone))
      tokens += divisor
      for (const [name, part] of gradients) {
        const sum = sums.get(name) ?? new Float32Array(part.length)
        sums.set(name, sum)
        for (let i = 0; i < part.length; i++) sum[i]! += part[i]!
      }
    }
    const whole = await measured(model, tried.stepBatch(rows, alone))
    let [difference, detail] = [0, ""]
    for (const [name, sum] of sums) {
      const mean = whole.gradients.get(name)!.map((x) => (x / whole.divisor) * tokens)
      const apart = relative(mean, sum)
      if (apart <= difference) continue
      difference = apart
      detail = `most in ${name}`
    }
    return judged(SPLIT, { difference, detail })
  })
}
