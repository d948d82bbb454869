/** A policy in the worker: all its ranks sample and measure. */
import type { PreparedRow } from "../../../data/prepared.ts"
import type { Sample, SampleSource } from "../../../generate/sample-source.ts"
import {
  begunSequence,
  type EncodedPrompt,
  encodedPrompt,
  type Sequence,
  type SequenceReader,
  taken,
} from "../../../generate/sequence.ts"
import type { StepRow } from "../../../train/batches.ts"
import type { SequenceOutputs } from "../../../train/sequence-logprobs.ts"
import type { Orders, RowOrder, SampleAnswer, SampleOrder } from "./orders.ts"

interface TorchPolicyParts {
  readonly orders: Orders
  /** Aborted when the worker is gone. */
  readonly gone: AbortSignal
}

/**
 * Samples of the worker. What one becomes depends on its prompt, settings and seed alone; texts
 * that end one are looked for afterwards, and what came behind them is thrown away.
 */
export function torchSource(
  { orders, gone }: TorchPolicyParts,
  reader: SequenceReader,
): SampleSource {
  return {
    async *sample(requests, { signal } = {}) {
      signal?.throwIfAborted()
      const encoded = requests.map((request, i) => encodedPrompt(i, request, reader, undefined)!)
      const sequences = encoded.flatMap((prompt) => begunSequences(prompt, reader))
      const prompts = encoded.map(({ ids }) => [...ids])
      const samples = sequences.map(sampleOrder)
      const answer = await orders.ask("sample", { prompts, samples }, gone)
      signal?.throwIfAborted()
      for (const [i, sample] of answer.samples.entries()) {
        yield replayed(sequences[i]!, sample, reader)
      }
    },
  }
}

function begunSequences(prompt: EncodedPrompt, reader: SequenceReader): Sequence[] {
  const { tokenizer, contextLength } = reader
  const room = contextLength - prompt.ids.length
  return Array.from({ length: prompt.request.n }, (_, i) =>
    begunSequence(prompt, i, { tokenizer, room }),
  )
}

function sampleOrder({ request, requestIndex, sampleIndex, seed, limit }: Sequence): SampleOrder {
  const { temperature, rollout } = request
  const stream = rollout
    ? ([rollout.first + sampleIndex, rollout.number, rollout.attempt] as const)
    : ([0, 0, 0] as const)
  return { prompt: requestIndex, most: limit, temperature, seed, stream }
}

/** The sample that these tokens are. */
function replayed(
  sequence: Sequence,
  { token_ids: ids, logprobs }: SampleAnswer,
  { stopTokenIds }: SequenceReader,
): Sample {
  for (const [t, id] of ids.entries()) {
    const { sample } = taken(sequence, id, logprobs[t] ?? Number.NaN, stopTokenIds)
    if (sample) return sample
  }
  throw new Error(`the worker ended a sample of ${ids.length} tokens where nothing ends one`)
}

/** What the worker says of rows: the policy as it is, or the reference. */
export function torchMeasures({ orders, gone }: TorchPolicyParts) {
  return {
    async measure(rows: readonly StepRow[]): Promise<SequenceOutputs[]> {
      if (rows.length === 0) return []
      const { rows: found } = await orders.ask("measure", { rows: rows.map(bareRow) }, gone)
      return found.map(({ logp, entropy = [] }) => ({
        logp: numbers(logp),
        entropy: numbers(entropy),
      }))
    },
    async reference(rows: readonly StepRow[]): Promise<Float32Array[]> {
      if (rows.length === 0) return []
      const { rows: found } = await orders.ask("reference", { rows: rows.map(bareRow) }, gone)
      return found.map(({ logp }) => numbers(logp))
    },
  }
}

const numbers = (values: readonly (number | null)[]) =>
  Float32Array.from(values, (value) => value ?? Number.NaN)

const bareRow = ({ tokenIds, lossMask, tokenClass, source, line }: PreparedRow): RowOrder => ({
  token_ids: [...tokenIds],
  loss_mask: [...lossMask],
  token_class: [...tokenClass],
  source: `${source}:${line}`,
})

/** A row as the worker trains it. */
export function rowOrder(row: StepRow): RowOrder {
  const columns = Object.entries(row.columns ?? {}).map(
    ([name, values]) => [name, typeof values === "number" ? values : [...values]] as const,
  )
  return { ...bareRow(row), columns: Object.fromEntries(columns) }
}
