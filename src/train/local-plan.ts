/** How a run fits the local engine and this machine's memory. */
import { freemem } from "node:os"
import type { Config, OnnxEngineConfig } from "../config/index.ts"
import {
  adapterParameters,
  compiledSize,
  decoderParameters,
  elementCount,
  type LoraSpec,
  layerKinds,
  loraInputs,
  type ModelConfig,
  turnsByLength,
  type WeightQuantization,
} from "../models/index.ts"
import { isOfPairs, needs, type Objective } from "../objectives/index.ts"
import type { Precision } from "../runtime/index.ts"
import { frozenBytes, type MemoryPlan, memoryPlan, RUNTIME_BYTES } from "./memory-plan.ts"
import { chosenMicroBatchTokens, MOST_CHOSEN } from "./micro-batch-tokens.ts"
import {
  beginsPrincipal,
  headRows,
  routerAuxLossCoef,
  weightQuantization,
} from "./model-settings.ts"
import { comparesWithReference, runHead } from "./objective-batches.ts"
import { frozenTensors } from "./parameter-groups.ts"
import { largestSplit, type SplitOptions } from "./split-rows.ts"

/**
 * What the same run takes more on Node 24 than on 20, where RUNTIME_BYTES was measured
 * (docs/log.md).
 */
const NEWER_NODE_BYTES = Number(process.versions.node.split(".")[0]) >= 24 ? 25e6 : 0

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
  /** Of a run that goes on: whether it began so. */
  readonly together?: boolean | undefined
}

/**
 * Whether tokens that are coupled are computed together (`SplitOptions`): not under noise, of which
 * a pass of its own has none; nor where how a token is turned depends on what comes behind it.
 * Routers that are balanced count every row whole.
 */
function isTogether({ config, model, objective, together = true }: LocalPlanParts): boolean {
  const { adapter, neftune_noise_alpha: alpha } = config
  const isNoisy = alpha !== null || (adapter?.lora_dropout ?? 0) > 0
  const byLength = layerKinds(model.shape).some(({ rope }) => rope && turnsByLength(rope))
  const couples = needs(objective.expression).firstPass || isOfPairs(objective)
  return together && couples && !isNoisy && !byLength
}

/**
 * Micro-batches where the config leaves them to us: of pairs both sides, up to the most that is
 * chosen.
 */
function microBatchTokens(parts: LocalPlanParts, quantized: boolean, together: boolean): number {
  const { config, engine, model, objective, lengths } = parts
  if (config.micro_batch_tokens !== "auto") return config.micro_batch_tokens
  const chosen = chosenMicroBatchTokens(model.shape, { device: engine.device, quantized })
  if (!together || !isOfPairs(objective)) return chosen
  let most = 0
  for (let i = 0; i + 1 < lengths.length; i += 2) {
    most = Math.max(most, lengths[i]! + lengths[i + 1]!)
  }
  return Math.max(chosen, Math.min(MOST_CHOSEN, most))
}

/** Bytes of the models that stand beside a policy that samples: what `openRollouts` opens. */
function besideBytes(
  { config, engine, model, objective, lora, ...parts }: LocalPlanParts,
  startsChanged: boolean,
): number {
  const { rollout, teacher } = config
  if (!rollout) return 0
  const precision = engine.dtype
  // One that is asked for its whole distribution stands beside the steps; the start is counted
  // there.
  const isWhole = needs(objective.expression).wholeReference
  if (!comparesWithReference(objective, rollout) && !(isWhole && parts.measuredBy)) return 0
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
  const quantization = weightQuantization(config)
  const isBalanced = routerAuxLossCoef(config, model.shape, objective) > 0
  const together = !isBalanced && isTogether(parts)
  const capacity = microBatchTokens(parts, quantization !== undefined, together)
  const split = { capacity, packing: config.data.packing, ...(together ? { together } : {}) }
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
    referenceIsAnother: parts.measuredBy !== undefined,
    beside: besideBytes(parts, startsChanged),
    process: held + RUNTIME_BYTES + NEWER_NODE_BYTES,
    precision: engine.dtype,
    optimizer: config.optimizer,
    averages: config.ema_decay !== null,
    routers: isBalanced,
  })
  return { engine, quantization, frozen, split, memory }
}

/** Whether the planned memory is free. */
export const fitsNow = ({ memory }: Pick<LocalPlan, "memory">): boolean =>
  memory.total <= freemem() + process.memoryUsage.rss()
