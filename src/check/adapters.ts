/** An adapter adds nothing before it has learnt, and afterwards what merging it adds. */
import { decoderName, type LoraSpec, loraName, loraParameters, loraSpec } from "../models/index.ts"
import { randomStream } from "../random.ts"
import type { HostTensor } from "../runtime/index.ts"
import { type Comparison, furthest, judged, type Row } from "./comparison.ts"
import { logprobs, withFrozen } from "./measurements.ts"
import type { Subject } from "./subject.ts"

const AT_START: Row = {
  name: "adapter at its start",
  compared: "log-probabilities under a new adapter with those of its base",
  // Nothing is added, but the graphs round in another order: 3e-5 on SmolLM2-135M's 30 layers.
  usual: 5e-4,
}
const MERGED: Row = {
  name: "merged adapter",
  compared: "log-probabilities under an adapter that adds something with those of it merged",
  usual: AT_START.usual,
}
const PLAIN = { loraRank: 8, loraAlpha: 16 }
/** Of B's numbers where something is added: a few hundredths of a weight come to each. */
const MOST_B = 0.02

export async function adapterComparisons(subject: Subject): Promise<Comparison[]> {
  const all = { packing: true, capacity: Number.MAX_SAFE_INTEGER, normalization: "tokens" } as const
  const { pack } = subject.tried.stepBatch(subject.rows, all).microBatches[0]!
  const of = (options: Parameters<typeof withFrozen>[1]) =>
    withFrozen(subject, options, (decoder) => logprobs(decoder, pack))
  return [await atStart(subject, of), await merged(subject, of)]
}

type Logprobs = (options: Parameters<typeof withFrozen>[1]) => Promise<Float32Array>

/** Of the run's adapter, or of one on every linear layer. */
async function atStart({ plan }: Subject, of: Logprobs): Promise<Comparison> {
  const { quantization } = plan
  const lora = plan.lora ?? loraSpec(PLAIN, plan.model.shape)
  const [base, under] = [await of({ quantization }), await of({ quantization, lora })]
  return judged(AT_START, { difference: furthest(under, base) })
}

/** On the base as its file has it: codes cannot take an adapter in. */
async function merged({ plan, tried }: Subject, of: Logprobs): Promise<Comparison> {
  const { shape } = plan.model
  const lora = plan.lora && isPlain(plan.lora) ? plan.lora : loraSpec(PLAIN, shape)
  const under = await of({ lora, change: (weights) => fill(weights, lora) })
  const adapter = new Map<string, Float32Array>()
  const fresh = tried.adapterWeights(shape, lora, plan.config.seed)
  fill(fresh, lora)
  for (const { name } of loraParameters(shape, lora)) {
    adapter.set(name, fresh.get(decoderName(name))!.data as Float32Array)
  }
  const base = await of({
    change: (weights) => {
      const arrays = new Map([...weights].map(([name, { data }]) => [name, data as Float32Array]))
      tried.mergeAdapter(arrays, adapter, { spec: lora, shape })
    },
  })
  return judged(MERGED, { difference: furthest(under, base) })
}

const isPlain = ({ useDora, saved }: LoraSpec) => !useDora && saved.tensors.size === 0

/** Gives every B of an adapter the same small numbers without order. */
function fill(weights: ReadonlyMap<string, HostTensor>, { layers }: LoraSpec): void {
  for (const [layer, modules] of layers.entries()) {
    for (const module of modules.keys()) {
      const name = loraName(layer, module, "B")
      const random = randomStream(0, name)
      const { data } = weights.get(decoderName(name))!
      for (let i = 0; i < data.length; i++) data[i] = (2 * random() - 1) * MOST_B
    }
  }
}
