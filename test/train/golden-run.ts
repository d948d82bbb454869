import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { KeepLevel } from "../../src/graph/index.ts"
import { loadModel, readAdapter } from "../../src/models/files/index.ts"
import {
  Decoder,
  type DecoderShape,
  decoderParameters,
  linearWeights,
  loraInputs,
  quantizedNames,
  quantizedTensors,
  quantizeMatrix,
  SCORE,
} from "../../src/models/index.ts"
import { type ObjectiveSettings, objectiveFromConfig } from "../../src/objectives/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { type Device, float32, type HostTensor } from "../../src/runtime/index.ts"
import { supervisedBatches } from "../../src/train/batches.ts"
import { Policy } from "../../src/train/policy.ts"
import { type TrainerParts, trainSteps } from "../../src/train/trainer.ts"
import { fixedOrder, memoryRows, type PlainRow } from "./memory-rows.ts"

export const GOLDEN = fileURLToPath(new URL("../../golden/", import.meta.url))

export type GoldenStep = Pick<
  StepEvent,
  "loss" | "nll" | "grad_norm" | "learning_rate" | "aux_loss"
>
type Runs = Readonly<Record<string, { readonly steps: readonly GoldenStep[] }>>

/** What PyTorch did: `golden/trajectory.py`. */
export interface Trajectory {
  readonly settings: {
    readonly learning_rate: number
    readonly batch_size: number
    readonly steps: number
  }
  readonly rows: readonly PlainRow[]
  readonly order: readonly number[]
  readonly full: Runs
  readonly lora: Runs
}

export function goldenTrajectory(family: string): Trajectory {
  return JSON.parse(readFileSync(`${GOLDEN}trajectory/${family}.json`, "utf8")) as Trajectory
}

export interface GoldenRun {
  readonly device: Device
  readonly family: string
  readonly objective: string | ObjectiveSettings
  readonly capacity?: number
  readonly packing?: boolean
  readonly adapter?: boolean
  readonly bits?: 4 | 8
  /** [C]: the model is a reward model with this score. */
  readonly score?: readonly number[]
  readonly rows?: readonly PlainRow[]
  readonly steps?: number
  readonly onNonfinite?: "stop" | "skip"
  /** The golden trajectory's own if left out. */
  readonly learningRate?: number
  readonly schedule?: "cosine" | "constant"
  readonly warmupRatio?: number
  readonly routerAuxLossCoef?: number
}

/** Of a quantised base. */
export const GROUP_SIZE = 32

async function weightsOf(run: Weighted) {
  const folder = `${GOLDEN}models/${run.family}`
  const { config: read, weights } = await loadModel(folder)
  const shape: DecoderShape = run.score ? { ...read.shape, scores: true } : read.shape
  const config = { ...read, shape }
  if (run.score) weights.set(SCORE, Float32Array.from(run.score))
  const host = new Map<string, HostTensor>()
  const linears = linearWeights(config.shape)
  for (const { name, shape } of decoderParameters(config.shape)) {
    const data = weights.get(name)!
    if (run.bits && linears.has(name)) {
      const [outFeatures, inFeatures] = [shape[0]!, shape[1]!]
      const options = { bits: run.bits, groupSize: GROUP_SIZE }
      const tensors = quantizedTensors(quantizeMatrix(data, { outFeatures, inFeatures }, options))
      const names = quantizedNames(name)
      host.set(names.codes, tensors.codes)
      host.set(names.scales, tensors.scales)
      host.set(names.zeros, tensors.zeros)
    } else host.set(name, float32(shape, data))
  }
  const adapter = run.adapter ? await readAdapter(`${folder}/adapter`, read.shape) : undefined
  for (const [name, data] of adapter?.tensors ?? []) {
    const rank = adapter!.spec.loraRank
    const isA = name.includes("lora_A")
    const shape = isA ? [rank, data.length / rank] : [data.length / rank, rank]
    host.set(name.replace("base_model.model.", ""), float32(shape, data))
  }
  const whole = run.score ? { whole: new Set([SCORE]) } : {}
  const lora = adapter && { ...loraInputs(adapter.spec), ...whole }
  return { config, host, lora }
}

type Weighted = Pick<
  GoldenRun,
  "device" | "family" | "adapter" | "bits" | "score" | "routerAuxLossCoef"
>

/** The model of a golden run on its device; `keep` as the decoder takes it. */
export async function goldenPolicy(
  run: Weighted,
  keep?: (layer: number) => KeepLevel,
): Promise<Policy> {
  const { config, host, lora } = await weightsOf(run)
  const decoder = await Decoder.open({
    device: run.device,
    shape: config.shape,
    weights: host,
    lora,
    ...(keep ? { keep } : {}),
    routerAuxLossCoef: run.routerAuxLossCoef,
    ...(run.bits ? { quantization: { bits: run.bits, groupSize: GROUP_SIZE } } : {}),
  })
  return Policy.open(decoder, { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.01 })
}

/** Trains a golden model on its golden rows through the trainer's own loop. */
export async function goldenRun(run: GoldenRun): Promise<StepEvent[]> {
  const golden = goldenTrajectory(run.family)
  const { capacity = 128, packing = true, rows = golden.rows } = run
  const policy = await goldenPolicy(run)
  const parts: TrainerParts = {
    policy,
    objective: objectiveFromConfig(run.objective),
    batches: supervisedBatches(
      memoryRows(rows),
      fixedOrder(
        golden.order.slice(0, (run.steps ?? golden.settings.steps) * golden.settings.batch_size),
        golden.settings.batch_size,
        rows.length,
      ),
    ),
    split: { capacity, packing },
    evalSets: [],
    save: async () => "nowhere",
    memoryBytes: () => 0,
    settings: {
      learning_rate: run.learningRate ?? golden.settings.learning_rate,
      lr_scheduler: run.schedule ?? "cosine",
      warmup_ratio: run.warmupRatio ?? 0.1,
      max_grad_norm: 1,
      seed: 0,
      on_nonfinite: run.onNonfinite ?? "stop",
      save_steps: 0,
      eval_steps: 0,
      generate_samples: null,
    },
  }
  const steps: StepEvent[] = []
  try {
    for await (const event of trainSteps(parts)) {
      if (event.type === "step") steps.push(event as StepEvent)
    }
  } finally {
    await policy.release()
  }
  return steps
}

/** The largest relative difference of a field over all steps. */
export function apart(
  got: readonly GoldenStep[],
  expected: readonly GoldenStep[],
  field: keyof GoldenStep,
): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY
  return Math.max(
    ...expected.map((step, i) => {
      const [mine, wanted] = [got[i]![field] ?? Number.NaN, step[field] ?? Number.NaN]
      return Math.abs(mine - wanted) / Math.max(1e-6, Math.abs(wanted))
    }),
  )
}
