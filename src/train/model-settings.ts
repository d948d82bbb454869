/** What a config says of the model that is trained, as the model takes it. */
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import {
  DEFAULT_GROUP_SIZE,
  type DecoderShape,
  hasExperts,
  headName,
  type LoraSpec,
  layerKinds,
  linearLayers,
  loraInputs,
  loraSpec,
  type ModelConfig,
  type WeightQuantization,
} from "../models/index.ts"
import type { Objective } from "../objectives/index.ts"
import type { Precision } from "../runtime/index.ts"
import { groupOf } from "./parameter-groups.ts"
import type { OptimizerSettings } from "./policy.ts"

/**
 * Number of supervised positions whose logits are in memory at one time. A row of 256 costs a tenth
 * less than one of 128 (docs/log.md, 2026-11-26): the head's weights, and its gradient, are gone
 * through once a chunk.
 */
export const HEAD_ROWS = 256
/**
 * Where the head is held as bfloat16 panels: more rows cost a fiftieth of a step less, and each
 * takes 1.2 MB under a vocabulary of 150,000 (docs/log.md, 2026-11-30).
 */
const PACKED_HEAD_ROWS = 64

/** Of the model that is trained. */
export function headRows(
  { shape }: Pick<ModelConfig, "shape">,
  lora: LoraSpec | undefined,
  precision: Precision,
): number {
  const isPacked = precision === "bf16" && lora && !loraInputs(lora).whole?.has(headName(shape))
  return isPacked ? PACKED_HEAD_ROWS : HEAD_ROWS
}

/**
 * Weight of the routers' auxiliary loss: the config's, or what the checkpoint asks for; 0: none.
 *
 * @throws InputError where it is asked for and there is nothing that it could be of
 */
export function routerAuxLossCoef(
  { router_aux_loss_coef: given }: Pick<Config, "router_aux_loss_coef">,
  shape: DecoderShape,
  { normalization }: Pick<Objective, "normalization">,
): number {
  if (shape.scores) return 0
  const isExpert = layerKinds(shape).some((kind) =>
    [...linearLayers(shape, kind).values()].some((layer) => layer.isExpert),
  )
  if (!isExpert || !hasExperts(shape)) {
    if (!given) return 0
    throw new InputError(
      `router_aux_loss_coef: ${given}: this ${shape.modelType} has no experts; leave it out`,
    )
  }
  const coefficient = given ?? shape.routerAuxLossCoef
  if (coefficient > 0 && normalization === "weights") {
    throw new InputError(
      `router_aux_loss_coef: ${coefficient}: normalization: weights divides by a sum that is known too late for it; take tokens, or set router_aux_loss_coef: 0`,
    )
  }
  return coefficient
}

export function weightQuantization({ quantization }: Config): WeightQuantization | undefined {
  if (quantization === "none") return undefined
  return { bits: quantization === "int8" ? 8 : 4, groupSize: DEFAULT_GROUP_SIZE }
}

export function adapterSpec(
  adapter: NonNullable<Config["adapter"]>,
  { shape }: Pick<ModelConfig, "shape">,
  newTokens: Config["model_tokens"] = [],
): LoraSpec {
  // The rows of new tokens are learnt, so both matrices are trained.
  const outer = shape.scores ? ["embed_tokens"] : ["embed_tokens", "lm_head"]
  const vocabulary = newTokens.length > 0 ? outer : []
  const saved = adapter.modules_to_save ?? []
  const options = {
    loraRank: adapter.r,
    loraAlpha: adapter.lora_alpha,
    loraDropout: adapter.lora_dropout,
    useRslora: adapter.use_rslora,
    useDora: adapter.use_dora,
    targetModules: adapter.target_modules,
    excludeModules: adapter.exclude_modules ?? undefined,
    layersToTransform: adapter.layers_to_transform ?? undefined,
    rankPattern: adapter.rank_pattern,
    alphaPattern: adapter.alpha_pattern,
    // a score is new: it trains whole beside whatever is adapted
    modulesToSave: [...new Set([...(shape.scores ? ["score"] : []), ...vocabulary, ...saved])],
  }
  return loraSpec(options, shape)
}

/** Whether the adapter begins as a part of the base. */
export const beginsPrincipal = ({
  config,
  lora,
}: {
  readonly config: Config
  readonly lora: LoraSpec | undefined
}): boolean => lora !== undefined && config.adapter?.init_lora_weights === "pissa"

export function optimizerSettings(config: Config): OptimizerSettings {
  return {
    beta1: config.adam_beta1,
    beta2: config.adam_beta2,
    epsilon: config.adam_epsilon,
    weightDecay: config.weight_decay,
    optimizer: config.optimizer,
    momentum: config.muon_momentum,
    averageDecay: config.ema_decay ?? undefined,
    groupOf: (name) => groupOf(name, config),
  }
}
