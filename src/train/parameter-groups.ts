/** Settings of their own for some of the tensors that train: learning rates, decay, none at all. */
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { namesTensor } from "../models/adapters/peft-patterns.ts"
import { type DecoderShape, decoderParameters, VALUE_HEAD } from "../models/index.ts"

/** What the optimizer does otherwise with a tensor. */
export interface ParameterGroup {
  /** Multiple of the run's learning rate. */
  readonly rate: number
  /** In place of the run's. */
  readonly weightDecay?: number | undefined
}

type Settings = Pick<Config, "adapter" | "learning_rate" | "param_groups">

/**
 * A value head begins at 0 and is one matrix: it learns this many times as fast, as verl's critic
 * does.
 */
const VALUE_RATE = 10

/**
 * By a tensor's name: its first group in `param_groups`, and LoRA+ (arXiv 2402.12354), by which B
 * learns faster than A; DoRA's magnitudes go with B, as in PEFT's own optimizer for it.
 */
export function groupOf(name: string, config: Settings): ParameterGroup {
  const ratio = /\.lora_(B\.weight|magnitude_vector)$/.test(name)
    ? config.adapter?.loraplus_lr_ratio
    : undefined
  const found = config.param_groups.find(({ params }) => namesTensor(params, name, "param_groups"))
  const usual = name === VALUE_HEAD ? VALUE_RATE * config.learning_rate : config.learning_rate
  const own = found?.learning_rate ?? usual
  const weightDecay = found?.weight_decay ?? undefined
  return { rate: (own / config.learning_rate) * (ratio ?? 1), weightDecay }
}

/** @throws InputError for a group that no tensor which trains is in */
export function checkGroups(names: Iterable<string>, { param_groups: groups }: Settings): void {
  const all = [...names]
  for (const [i, { params }] of groups.entries()) {
    if (all.some((name) => namesTensor(params, name, `param_groups[${i}]`))) continue
    throw new InputError(
      `param_groups[${i}]: params: ${JSON.stringify(params)} matches no tensor that trains; names are such as ${all.slice(0, 3).join(", ")}`,
    )
  }
}

/**
 * The tensors that `freeze` keeps as they are.
 *
 * @throws InputError for a pattern that matches none, and where nothing is left to train
 */
export function frozenTensors(
  { freeze }: Pick<Config, "freeze">,
  shape: DecoderShape,
): ReadonlySet<string> | undefined {
  if (freeze.length === 0) return undefined
  const names = decoderParameters(shape).map(({ name }) => name)
  for (const [i, pattern] of freeze.entries()) {
    if (names.some((name) => namesTensor(pattern, name, `freeze[${i}]`))) continue
    throw new InputError(
      `freeze[${i}]: ${JSON.stringify(pattern)} matches no tensor of the model; names are such as ${names.slice(0, 3).join(", ")}`,
    )
  }
  const frozen = names.filter((name) => freeze.some((it) => namesTensor(it, name, "freeze")))
  if (frozen.length < names.length) return new Set(frozen)
  throw new InputError("freeze: leaves no tensor to train")
}
