import { InputError } from "../../errors.ts"
import {
  type ConfigKeys,
  flag,
  integer,
  isObject,
  positive,
  positiveList,
  present,
  refuse,
} from "./config-keys.ts"
import type { DecoderConfig } from "./decoder-config.ts"
import type { Rope } from "./shape.ts"

export interface RopeOptions {
  /** `rope_theta` where the config has none. */
  readonly theta?: number
  /**
   * The share of a head that turns where the config says nothing; undefined: the family turns whole
   * heads.
   */
  readonly rotaryFactor?: number
  /** The entry of settings by kind of layer: `full_attention`, `sliding_attention`. */
  readonly layerType?: string
  /** Older names of a scaling that mean another today. */
  readonly typeNames?: Readonly<Record<string, Rope["ropeType"]>>
}

const ROPE_TYPES = "default, linear, dynamic, llama3, yarn, longrope"

const objectAt = (keys: ConfigKeys, key: string): Readonly<Record<string, unknown>> => {
  if (!present(keys, key)) return {}
  const value = keys.values[key]
  return isObject(value) ? value : refuse(keys, key, "an object or null")
}

/**
 * The keys of one rotary setting. Transformers 5 writes `rope_parameters`; 4 wrote `rope_theta` and
 * `rope_scaling`, which wins where both are there, as in Transformers.
 */
function settingKeys(keys: ConfigKeys, { layerType }: RopeOptions): ConfigKeys {
  const scaling = objectAt(keys, "rope_scaling")
  const parameters = objectAt(keys, "rope_parameters")
  const key = Object.keys(scaling).length > 0 ? "rope_scaling" : "rope_parameters"
  const chosen = key === "rope_scaling" ? scaling : parameters
  const where = `${keys.where}: ${key}`
  if (key === "rope_scaling") refuseLostTheta(keys, scaling, parameters)
  if (!Object.values(chosen).some(isObject)) {
    return { where, values: { rope_theta: keys.values.rope_theta, ...chosen } }
  }
  const nested = layerType === undefined ? undefined : chosen[layerType]
  if (layerType === undefined || !isObject(nested)) {
    const expected = layerType ?? "one rotary setting for all layers"
    const came = Object.keys(chosen).join(", ")
    throw new InputError(`${where}: expected ${expected}, got settings for ${came}`)
  }
  const values = { rope_theta: keys.values.rope_theta, ...nested }
  return { where: `${where}: ${layerType}`, values }
}

/**
 * Where `rope_scaling` takes the place of `rope_parameters`, the latter's base would be lost
 * without a word.
 */
function refuseLostTheta(
  keys: ConfigKeys,
  scaling: Readonly<Record<string, unknown>>,
  parameters: Readonly<Record<string, unknown>>,
): void {
  const said = scaling.rope_theta ?? keys.values.rope_theta
  const lost = parameters.rope_theta ?? said
  if (said === lost || (said === undefined && lost === 10_000)) return
  throw new InputError(
    `${keys.where}: "rope_scaling" and "rope_parameters" disagree on rope_theta ` +
      `(${said ?? "none"} and ${lost}); Transformers reads rope_scaling where both are there. ` +
      "Keep one of the two",
  )
}

/** @throws InputError for a scaling this engine does not compute. */
export function ropeParameters(
  keys: ConfigKeys,
  config: DecoderConfig,
  options: RopeOptions = {},
): Rope {
  const rope = settingKeys(keys, options)
  const typeKey = present(rope, "rope_type") ? "rope_type" : "type"
  const named = present(rope, typeKey) ? rope.values[typeKey] : "default"
  const ropeType = options.typeNames?.[String(named)] ?? named
  const base = {
    ropeTheta: positive(rope, "rope_theta", options.theta ?? 10_000),
    rotaryDim: rotaryDim(keys, rope, config, options),
  }
  switch (ropeType) {
    case "default":
      return { ...base, ropeType }
    case "linear":
      return { ...base, ropeType, factor: positive(rope, "factor") }
    case "dynamic": {
      const { maxPositionEmbeddings } = config
      return { ...base, ropeType, factor: positive(rope, "factor"), maxPositionEmbeddings }
    }
    case "llama3":
      return { ...base, ropeType, ...llama3(rope), ...trained(keys, rope, config) }
    case "yarn":
      return { ...base, ropeType, ...yarn(rope), ...trained(keys, rope, config) }
    case "longrope":
      return { ...base, ropeType, ...longrope(keys, rope, config, base.rotaryDim) }
    default:
      return refuse(rope, typeKey, `a supported rotary scaling: ${ROPE_TYPES}`)
  }
}

function rotaryDim(
  keys: ConfigKeys,
  rope: ConfigKeys,
  { headDim }: DecoderConfig,
  { rotaryFactor }: RopeOptions,
): number {
  const key = "partial_rotary_factor"
  if (rotaryFactor === undefined) {
    if (positive(rope, key, 1) === 1) return headDim
    return refuse(rope, key, "1 (this family turns whole heads)")
  }
  const given = present(rope, key) ? rope : keys
  const dim = Math.trunc(headDim * positive(given, key, rotaryFactor))
  if (dim < 2 || dim > headDim || dim % 2 !== 0) {
    refuse(given, key, `a share that makes an even number of a head's ${headDim} elements`)
  }
  return dim
}

/** The length that the model was trained at before it was stretched. */
function trained(keys: ConfigKeys, rope: ConfigKeys, { maxPositionEmbeddings }: DecoderConfig) {
  const key = "original_max_position_embeddings"
  // Phi-3 keeps it outside, and Transformers then reads it there.
  const from = present(keys, key) ? keys : rope
  return { originalMaxPositionEmbeddings: integer(from, key, maxPositionEmbeddings) }
}

function llama3(rope: ConfigKeys) {
  const lowFreqFactor = positive(rope, "low_freq_factor")
  const highFreqFactor = positive(rope, "high_freq_factor")
  if (highFreqFactor <= lowFreqFactor) {
    refuse(rope, "high_freq_factor", `above low_freq_factor (${lowFreqFactor})`)
  }
  return { factor: positive(rope, "factor"), lowFreqFactor, highFreqFactor }
}

function yarn(rope: ConfigKeys) {
  const factor = positive(rope, "factor")
  const stretch = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1)
  const both = present(rope, "mscale") && present(rope, "mscale_all_dim")
  const usual = both
    ? stretch(positive(rope, "mscale")) / stretch(positive(rope, "mscale_all_dim"))
    : stretch(1)
  return {
    factor,
    attentionFactor: positive(rope, "attention_factor", usual),
    betaFast: positive(rope, "beta_fast", 32),
    betaSlow: positive(rope, "beta_slow", 1),
    truncate: flag(rope, "truncate", true),
  }
}

function longrope(keys: ConfigKeys, rope: ConfigKeys, config: DecoderConfig, rotaryDim: number) {
  const { originalMaxPositionEmbeddings: original } = trained(keys, rope, config)
  const factor = positive(rope, "factor", config.maxPositionEmbeddings / original)
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original))
  return {
    shortFactor: positiveList(rope, "short_factor", rotaryDim / 2),
    longFactor: positiveList(rope, "long_factor", rotaryDim / 2),
    originalMaxPositionEmbeddings: original,
    attentionFactor: positive(rope, "attention_factor", usual),
  }
}
