import type { Tensor } from "../../graph/index.ts"
import type { BlockParts } from "../block/parts.ts"
import { type ConfigKeys, flag, integer, notNegative, present, refuse } from "./config-keys.ts"
import { gated, gatedLayers } from "./llama-block.ts"
import type { DecoderShape, LinearLayer, Parameter } from "./shape.ts"

/** A mixture of experts in place of the MLP. */
export interface ExpertsShape extends DecoderShape {
  readonly numExperts: number
  readonly numExpertsPerTok: number
  /** Columns of an expert's gate. */
  readonly moeIntermediateSize: number
  /** The weights of a token's experts are divided by their sum. */
  readonly normTopkProb: boolean
  /** Weight of the routers' auxiliary loss that the checkpoint asks for; 0: none. */
  readonly routerAuxLossCoef: number
}

/** Whether some layers have experts. */
export const hasExperts = (shape: DecoderShape): shape is ExpertsShape => "numExperts" in shape

const expert = (index: number) => `mlp.experts.${index}`

/**
 * `auxLossCoef`: the family's weight of the routers' auxiliary loss where the config gives none.
 * @throws InputError
 */
export function expertsConfig(keys: ConfigKeys, { auxLossCoef }: { readonly auxLossCoef: number }) {
  // Transformers 5 writes the second name.
  const key = present(keys, "num_experts") ? "num_experts" : "num_local_experts"
  const numExperts = integer(keys, key)
  const numExpertsPerTok = integer(keys, "num_experts_per_tok", 8)
  if (numExpertsPerTok > numExperts) {
    refuse(keys, "num_experts_per_tok", `at most ${key} (${numExperts})`)
  }
  const asked = flag(keys, "output_router_logits", false)
  return {
    numExperts,
    numExpertsPerTok,
    normTopkProb: flag(keys, "norm_topk_prob", false),
    routerAuxLossCoef: asked ? notNegative(keys, "router_aux_loss_coef", auxLossCoef) : 0,
  }
}

/** The router's weight and the experts' layers. PEFT's `all-linear` leaves experts out. */
export function expertLayers(shape: ExpertsShape): (LinearLayer | Parameter)[] {
  const { hiddenSize: C, moeIntermediateSize: I, numExperts } = shape
  const layers = Array.from({ length: numExperts }, (_, index) =>
    gatedLayers(C, I, { mlp: expert(index) }).map((layer) => ({ ...layer, isExpert: true })),
  )
  return [{ name: "mlp.gate.weight", shape: [numExperts, C] }, ...layers.flat()]
}

/**
 * x [R, C] -> [R, C]: each token through its k most probable experts.
 *
 *     y = sum_e w_e down_e(silu(gate_e(x)) * up_e(x)),  w = p where p is among the k largest, else 0
 *     p = softmax(x router^T);  with normTopkProb w is divided by its sum
 *
 * Every expert is computed for every token, so it costs numExperts / k times what a sparse one
 * would.
 */
export function experts(x: Tensor, parts: BlockParts, shape: ExpertsShape): Tensor {
  const { numExperts, numExpertsPerTok: k, normTopkProb } = shape
  const p = x.matmul(parts.weight("mlp.gate.weight"), { transB: true }).softmax() // [R, E]
  const least = p.topK(k).slice(1, k - 1, k) // [R, 1]
  const isChosen = least.lessOrEqual(p)
  parts.routed?.(p, isChosen)
  const chosen = isChosen.where(p, 0)
  const weights = normTopkProb ? chosen.div(chosen.sum(1, { keepDims: true })) : chosen
  const outputs = Array.from({ length: numExperts }, (_, index) => {
    const y = parts.linear(gated(x, parts, expert(index)), `${expert(index)}.down_proj`)
    return y.mul(weights.slice(1, index, index + 1))
  })
  return outputs.reduce((sum, y) => sum.add(y))
}
