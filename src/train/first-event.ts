import type { Decoder } from "../models/index.ts"
import { NORMALIZATION_IN_WORDS, type Objective } from "../objectives/index.ts"
import type { EventBody } from "../run/events.ts"

interface RunStartParts {
  readonly runId: string
  /** The run folder's. */
  readonly name: string
  readonly decoder: Decoder
  readonly objective: Objective
  /** Of an epoch. */
  readonly supervisedTokens: number
  readonly rows: number
  readonly batchSize: number
  readonly steps: number
  readonly plannedMemoryBytes: number
  /** From here to the end, where it was measured. */
  readonly plannedSeconds?: number
  /** What the machine has left, where it tells. */
  readonly freeMemoryBytes?: number
  /** The checkpoint that the run goes on from. */
  readonly resumed?: { readonly path: string; readonly progress: { readonly step: number } }
}

const elements = (tensors: Iterable<{ readonly shape: readonly number[] }>): number => {
  let count = 0
  for (const { shape } of tensors) count += shape.reduce((product, dim) => product * dim, 1)
  return count
}

/** The event that a run of the local engine begins with. */
export function runStart(parts: RunStartParts): EventBody {
  const { runId, name, decoder, objective, resumed, freeMemoryBytes, plannedSeconds } = parts
  const { device } = decoder
  return {
    type: "run.start",
    step: resumed?.progress.step ?? 0,
    run_id: runId,
    name,
    engine: "onnx",
    device: device.description,
    dtype: device.products,
    parameters: {
      total: elements(decoder.weights.values()),
      trained: elements(decoder.gradients.values()),
    },
    supervised_tokens_per_epoch: parts.supervisedTokens,
    normalization: NORMALIZATION_IN_WORDS[objective.normalization],
    steps: parts.steps,
    objective: objective.name,
    rows: parts.rows,
    batch_size: parts.batchSize,
    planned_memory_bytes: parts.plannedMemoryBytes,
    ...(freeMemoryBytes === undefined ? {} : { free_memory_bytes: freeMemoryBytes }),
    ...(plannedSeconds === undefined ? {} : { planned_seconds: plannedSeconds }),
    ...(resumed ? { resumed_from: resumed.path } : {}),
  }
}
