/** From prepared rows to the steps of an objective, by what it trains on. */
import type { Config } from "../config/index.ts"
import type { RunOrder } from "../data/order.ts"
import type { Prepared } from "../data/prepared.ts"
import { InputError } from "../errors.ts"
import { isOfPairs, needs, type Objective } from "../objectives/index.ts"
import {
  type FixedBatches,
  labelBatches,
  pairBatches,
  type StepRow,
  scoreBatches,
  supervisedBatches,
} from "./batches.ts"
import { type ObjectiveHead, objectiveHead } from "./objective-head.ts"
import { rewardedBatches } from "./rewarded-batches.ts"

/**
 * Whether the reference's log-probabilities are measured once and kept. Objectives on targets run
 * the reference beside the policy, as they always did; so does whatever needs its whole
 * distribution.
 */
export function storesReference({ expression, trainsOn }: Objective): boolean {
  const { inputs, wholeReference } = needs(expression)
  return trainsOn !== "targets" && inputs.has("ref_logp") && !wholeReference
}

/**
 * Whether a run asks a reference what it says of the rows' own tokens: in the loss, or in the
 * reward.
 */
export function comparesWithReference(
  objective: Objective,
  rollout: Pick<NonNullable<Config["rollout"]>, "kl_in_reward"> | null,
): boolean {
  return storesReference(objective) || (rollout?.kl_in_reward ?? 0) > 0
}

/** The objective as a run's own head: what rows are compared with is measured before. */
export function runHead(objective: Objective, temperature = 1): ObjectiveHead {
  return objectiveHead(objective, { storedReference: storesReference(objective), temperature })
}

export interface BatchSettings extends Pick<Config, "data"> {
  /** Where rows are scored: before it. */
  readonly padTokenId?: number | null
}

/** Another model as reference is measured once: where nothing is stored, nothing would ask it. */
function refuseReference(objective: Objective, { reference, teacher, rollout }: Config): void {
  if (reference === null) return
  if (teacher) {
    throw new InputError(
      `reference: ${reference}: ${objective.name} compares with its teacher; leave one of the two out`,
    )
  }
  if (comparesWithReference(objective, rollout)) return
  const asks = needs(objective.expression).reference
  throw new InputError(
    asks
      ? `reference: ${reference}: ${objective.name} needs the reference's whole distribution, which only the model as it starts gives; leave it out`
      : `reference: ${reference}: ${objective.name} as it is set compares with no reference; leave it out`,
  )
}

/** The steps of an objective. */
export function batchesOf(
  objective: Objective,
  rows: Prepared,
  order: RunOrder,
  { data, padTokenId = null }: BatchSettings,
): FixedBatches {
  switch (objective.trainsOn) {
    case "pairs":
      return pairBatches(rows, order)
    case "labels":
      return labelBatches(rows, order, { maxLength: data.max_length })
    case "rewards": {
      const { tau = 1, cap = 20 } = objective.parameters
      const settings = { tau: Number(tau), cap: Number(cap) }
      return rewardedBatches(supervisedBatches(rows, order), rows, settings)
    }
    case "scores":
      return scoreBatches(rows, order, { padTokenId })
    case "targets":
    case "rollouts":
      return supervisedBatches(rows, order)
  }
}

/**
 * All rows of an eval set once, as steps of the objective; undefined where tokens are not coupled.
 */
export function evalBatches(
  objective: Objective,
  rows: Prepared,
  config: BatchSettings & Pick<Config, "batch_size">,
): FixedBatches | undefined {
  if (!isOfPairs(objective) && objective.trainsOn !== "labels") return undefined
  const size = config.batch_size
  const length = (step: number) => Math.min(size, rows.rows - step * size)
  const order: RunOrder = {
    steps: Math.ceil(rows.rows / size),
    rowsPerEpoch: rows.rows,
    rows: rows.rows,
    stepRows: (step) => Int32Array.from({ length: length(step) }, (_, i) => step * size + i),
    epochAt: (step) => Math.min(1, (step * size) / rows.rows),
  }
  return batchesOf(objective, rows, order, config)
}

/**
 * Rows say which entry of `data.train` they are of, where the objective asks; `places` is by file.
 */
export function withSources(
  batches: FixedBatches,
  { expression }: Objective,
  places: ReadonlyMap<string, number>,
): FixedBatches {
  if (!needs(expression).inputs.has("source")) return batches
  const sequences = (index: number): StepRow[] =>
    batches.sequences(index).map((row) => ({
      ...row,
      columns: { ...row.columns, source: places.get(row.source) ?? -1 },
    }))
  return {
    ...batches,
    sequences,
    batch: (step) => ({ rows: batches.indices(step).flatMap(sequences) }),
  }
}

function refuseForScores(
  name: string,
  { generate_samples, engine, model_tokens, adapter, router_aux_loss_coef: routers }: Config,
): void {
  if (routers) {
    throw new InputError(
      `router_aux_loss_coef: ${routers}: objective ${name} trains a reward model, which has none; leave it out`,
    )
  }
  if (generate_samples !== null) {
    throw new InputError(
      `generate_samples: objective ${name} trains a reward model, which writes no text; take it out`,
    )
  }
  const missing =
    model_tokens.length > 0 ? "model_tokens" : adapter?.path ? "adapter.path" : undefined
  if (engine.name === "torch" && missing !== undefined) {
    throw new InputError(
      `${missing}: engine: torch trains no reward model with it; engine: onnx does objective ${name}`,
    )
  }
}

const COMPARED = ["ref_logp", "kl_ref", "old_logp"] as const

/**
 * Noise on embeddings would be compared too: with a reference, an earlier policy, or the other
 * side.
 */
function refuseNoise({ name, trainsOn, expression }: Objective, config: Config): void {
  const { neftune_noise_alpha: alpha } = config
  const { inputs } = needs(expression)
  const compares = trainsOn !== "targets" || COMPARED.some((input) => inputs.has(input))
  if (alpha === null || !compares) return
  throw new InputError(
    `neftune_noise_alpha: ${alpha} makes noise of the size of what ${name} compares, log-probabilities of two answers or two models; leave it out`,
  )
}

/**
 * Settings that an objective cannot be trained with.
 *
 * @throws InputError saying which, and what to do
 */
export function refuseSettings(objective: Objective, config: Config): void {
  const { name, trainsOn } = objective
  refuseNoise(objective, config)
  refuseReference(objective, config)
  if (trainsOn === "targets" || trainsOn === "rewards") return
  if (trainsOn === "scores") {
    refuseForScores(name, config)
    return
  }
  if (config.adapter && config.adapter.lora_dropout > 0) {
    throw new InputError(
      `adapter.lora_dropout: ${config.adapter.lora_dropout} makes noise of the size of what ${name} compares, ln pi of two answers or two models; set it to 0`,
    )
  }
  if (trainsOn === "labels" && config.batch_size < 2) {
    throw new InputError(
      `batch_size: ${name} compares each prompt with another row's answer of the same step, so a step needs 2 rows at least; 16 and more are usual`,
    )
  }
}
