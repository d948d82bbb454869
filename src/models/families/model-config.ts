import { InputError } from "../../errors.ts"
import { type ConfigKeys, isObject, present, refuse } from "./config-keys.ts"
import { checkOneLabel, isRewardModel, rewardArchitecture } from "./reward-class.ts"
import type { DecoderShape } from "./shape.ts"
import { FAMILIES, isModelType, MODEL_TYPES, type ModelType } from "./table.ts"

export type CheckpointDtype = "float32" | "float16" | "bfloat16"
const DTYPES: readonly string[] = ["float32", "float16", "bfloat16"] satisfies CheckpointDtype[]

/** A config.json understood. */
export interface ModelConfig {
  readonly modelType: ModelType
  readonly shape: DecoderShape
  /** What the config says the weights are in; the tensors themselves decide when loading. */
  readonly dtype: CheckpointDtype
  readonly bosTokenId: number | null
  /** All of them: a list in some checkpoints, a number in others, empty when there is none. */
  readonly eosTokenIds: readonly number[]
  /** The file as it came, for writing it back. */
  readonly json: Readonly<Record<string, unknown>>
  /** Its text, where it was read from one. */
  readonly text?: string
  /** `quantization_config` of a checkpoint that is quantised; `json` is without it. */
  readonly quantization?: Readonly<Record<string, unknown>>
  /**
   * The config ties the head to the embedding, and the checkpoint holds another one: `shape` has
   * that.
   */
  readonly hasOwnHead?: boolean
  /** Read as a reward model, and the checkpoint has a head where the score is to be. */
  readonly hasNewScore?: boolean
}

const SUPPORTED = MODEL_TYPES.join(", ")

function modelType(keys: ConfigKeys): ModelType {
  const { where, values } = keys
  const came = values.model_type
  if (!isModelType(came)) {
    const got = came === undefined ? "nothing" : JSON.stringify(came).slice(0, 80)
    throw new InputError(
      `${where}: expected "model_type" to be one that dftune supports (${SUPPORTED}), got ${got}`,
    )
  }
  return came
}

/** What would make the tensors mean something else than the family's own file says. */
function refuseVariants(keys: ConfigKeys, type: ModelType): void {
  const { where, values } = keys
  const { quantization_config: quantization = null } = values
  if (quantization !== null && quantization !== "none" && !isObject(quantization)) {
    refuse(keys, "quantization_config", "an object that says how the weights are quantised")
  }
  const { architecture } = FAMILIES[type]
  const came = values.architectures
  if (!present(keys, "architectures") || isArchitecture(came, architecture)) return
  const rewardModel = rewardArchitecture(type)
  if (rewardModel !== undefined && isArchitecture(came, rewardModel)) {
    checkOneLabel(keys)
    return
  }
  const got = JSON.stringify(came).slice(0, 80)
  const remote = present(keys, "auto_map")
    ? ' ("auto_map" names code in the model folder, which dftune never runs)'
    : ""
  throw new InputError(
    `${where}: expected "architectures" to hold ${architecture}, got ${got}${remote}`,
  )
}

/**
 * The class, its backbone alone, or either in the capitals of an older conversion
 * (LLaMAForCausalLM).
 */
function isArchitecture(came: unknown, architecture: string): boolean {
  const meant = [architecture, architecture.replace("ForCausalLM", "Model")]
  const known = meant.map((name) => name.toLowerCase())
  return Array.isArray(came) && came.some((name) => known.includes(String(name).toLowerCase()))
}

/** A config that only says that it is not quantised, as bitsandbytes leaves behind. */
function isQuantized(config: unknown): config is Record<string, unknown> {
  if (config === undefined || config === null || config === "none") return false
  if (!isObject(config)) return false
  if (Object.keys(config).length === 0) return false
  const isOff = config.load_in_4bit !== true && config.load_in_8bit !== true
  const { quant_method: method = "bitsandbytes" } = config
  return !(method === "bitsandbytes" && isOff && "load_in_4bit" in config)
}

/** `dtype` in Transformers 5, `torch_dtype` before; float32 where neither is given. */
function checkpointDtype({ where, values }: ConfigKeys): CheckpointDtype {
  const said = values.dtype ?? values.torch_dtype ?? "float32"
  const name = typeof said === "string" ? said.replace(/^torch\./, "") : said
  // The tensors decide; these are held as float32.
  const came = name === "auto" || name === "float64" ? "float32" : name
  if (typeof came !== "string" || !DTYPES.includes(came)) {
    const got = JSON.stringify(came).slice(0, 80)
    throw new InputError(`${where}: expected "dtype" to be one of ${DTYPES.join(", ")}, got ${got}`)
  }
  return came as CheckpointDtype
}

function tokenIds({ where, values }: ConfigKeys, key: string): number[] {
  const came = values[key] ?? []
  const all = Array.isArray(came) ? came : [came]
  const ids = all.filter((id) => id !== -1) // some write it for none
  if (!ids.every((id) => Number.isInteger(id) && id >= 0)) {
    const got = JSON.stringify(came).slice(0, 80)
    throw new InputError(`${where}: expected "${key}" to be a token id or a list, got ${got}`)
  }
  return ids
}

/**
 * Understands a parsed config.json, in the spellings of Transformers 4 and 5.
 * @param where the file's name, for errors
 * @throws InputError naming the key, what was expected and what came
 */
export function modelConfig(json: unknown, where = "config.json"): ModelConfig {
  if (!isObject(json)) throw new InputError(`${where}: expected a JSON object`)
  const keys: ConfigKeys = { where, values: json }
  const type = modelType(keys)
  refuseVariants(keys, type)
  const { quantization_config: quantization, ...plain } = json
  const shape = FAMILIES[type].config(keys)
  return {
    modelType: type,
    shape: isRewardModel(json.architectures)
      ? { ...shape, tieWordEmbeddings: false, scores: true }
      : shape,
    dtype: checkpointDtype(keys),
    bosTokenId: tokenIds(keys, "bos_token_id")[0] ?? null,
    eosTokenIds: tokenIds(keys, "eos_token_id"),
    ...(isQuantized(quantization) ? { json: plain, quantization } : { json }),
  }
}
