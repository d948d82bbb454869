/** How a run fits the local engine and this machine's memory. */
import { freemem } from "node:os"
import type { Config, OnnxEngineConfig } from "../config/index.ts"
import {
  adapterParameters,
  compiledSize,
  decoderParameters,
  elementCount,
  type LoraSpec,
  loraInputs,
  type ModelConfig,
  type WeightQuantization,
} from "../models/index.ts"
import { isOfPairs, type Objective } from "../objectives/index.ts"
import type { Precision } from "../runtime/index.ts"
import { frozenBytes, type MemoryPlan, memoryPlan, RUNTIME_BYTES } from "./memory-plan.ts"
import { chosenMicroBatchTokens } from "./micro-batch-tokens.ts"
import {
  beginsPrincipal,
  headRows,
  routerAuxLossCoef,
  weightQuantization,
} from "./model-settings.ts"
import { comparesWithReference, runHead } from "./objective-batches.ts"
import { frozenTensors } from "./parameter-groups.ts"
import { largestSplit, type SplitOptions } from "./split-rows.ts"

/** `dtype` is what it is on this machine, never auto. */
export type ResolvedEngine = OnnxEngineConfig & { readonly dtype: Precision }

export interface LocalPlan {
  readonly engine: ResolvedEngine
  readonly quantization: WeightQuantization | undefined
  /** Without an adapter: tensors that do not train. */
  readonly frozen: ReadonlySet<string> | undefined
  /** How a step's rows become micro-batches. */
  readonly split: SplitOptions
  readonly memory: MemoryPlan
}

export interface LocalPlanParts {
  readonly config: Config
  readonly engine: ResolvedEngine
  readonly model: ModelConfig
  readonly objective: Objective
  readonly lora: LoraSpec | undefined
  /** Tokens of every sequence that may be trained on. */
  readonly lengths: ArrayLike<number>
  /** What the process holds before a weight is read, in bytes. */
  readonly held: number
  /** Of a run that samples: the model that says how likely the samples are. */
  readonly measuredBy?: ModelConfig | undefined
}

/** Bytes of the models that stand beside a policy that samples: what `openRollouts` opens. */
function besideBytes(
  { config, engine, model, objective, lora, ...parts }: LocalPlanParts,
  startsChanged: boolean,
): number {
  const { rollout, teacher } = config
  if (!rollout || !comparesWithReference(objective, rollout)) return 0
  const precision = engine.dtype
  if (parts.measuredBy) return frozenBytes({ shape: parts.measuredBy.shape, precision })
  const isItself = teacher !== null && teacher.model === null
  if (isItself && teacher.weights === "live") return 0
  const { shape } = model
  if (isItself && teacher.weights === "average") {
    const all = lora ? [...adapterParameters(shape, lora)] : decoderParameters(shape)
    return all.reduce((sum, { shape }) => sum + 4 * elementCount(shape), 0)
  }
  const isApart = !lora || lora.saved.tensors.size > 0 || startsChanged
  const quantization = weightQuantization(config)
  return isApart ? frozenBytes({ shape, quantization, precision }) : 0
}

export function localPlan(parts: LocalPlanParts): LocalPlan {
  const { config, engine, model, objective, lora, lengths, held } = parts
  routerAuxLossCoef(config, model.shape, objective) // refused before anything is computed
  const quantization = weightQuantization(config)
  const capacity =
    config.micro_batch_tokens === "auto"
      ? chosenMicroBatchTokens(model.shape, {
          device: engine.device,
          quantized: quantization !== undefined,
        })
      : config.micro_batch_tokens
  const split = { capacity, packing: config.data.packing }
  const sequences = isOfPairs(objective) ? 2 : 1
  const frozen = lora ? undefined : frozenTensors(config, model.shape)
  const goesOn = (config.adapter?.path ?? null) !== null
  const startsChanged = goesOn || beginsPrincipal({ config, lora })
  const memory = memoryPlan({
    shape: model.shape,
    frozen,
    lora: lora && loraInputs(lora),
    startsChanged,
    quantization,
    tokens: compiledSize(largestSplit(lengths, sequences * config.batch_size, split)),
    recompute: config.recompute,
    bytes: config.device_memory === "auto" ? 0.9 * freemem() + held : config.device_memory,
    headRows: headRows(model, lora, engine.dtype),
    headSettings: runHead(objective, config.rollout?.temperature).settings,
    beside: besideBytes(parts, startsChanged),
    process: held + RUNTIME_BYTES,
    precision: engine.dtype,
    optimizer: config.optimizer,
    averages: config.ema_decay !== null,
  })
  return { engine, quantization, frozen, split, memory }
}

/** Whether the planned memory is free. */
export const fitsNow = ({ memory }: Pick<LocalPlan, "memory">): boolean =>
  memory.total <= freemem() + process.memoryUsage.rss()
