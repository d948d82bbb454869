import { InputError } from "../../errors.ts"
import { describeValue, isObject, type JsonObject } from "../../formats/json.ts"
import { type LoraOptions, type LoraSpec, targetModules } from "../adapters/lora.ts"
import type { ModuleNames } from "../adapters/peft-patterns.ts"
import { layerTensor } from "../block/parameters.ts"

/** What adapter_config.json says, before it is held to a base model. */
export interface AdapterConfig {
  readonly options: LoraOptions
  /** What it was trained on: a folder or hub id. */
  readonly baseModel: string | null
  /** Of a reward model: the score is saved whole beside the matrices. */
  readonly scores: boolean
}

/** An adapter as PEFT stores it. */
export interface AdapterFiles {
  readonly spec: LoraSpec
  readonly baseModel: string | null
  /** Of a reward model. */
  readonly scores?: boolean
}

/** Keys that are read, or that change nothing of what the tensors mean whatever they are. */
const HARMLESS: ReadonlySet<string> = new Set([
  ...["peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout"],
  ...["target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "use_rslora"],
  "use_dora",
  ...["rank_pattern", "alpha_pattern", "auto_mapping", "peft_version", "revision"],
  "modules_to_save",
  ...["inference_mode", "megatron_config", "megatron_core", "runtime_config", "eva_config"],
  // PEFT turns it off by itself for the linear layers of these families.
  "fan_in_fan_out",
  // Only with what they belong to, which is refused below.
  ...["loftq_config", "qalora_group_size", "ensure_weight_tying"],
])

/** Starts of A and B that leave the base's weights as they are. */
const PLAIN_STARTS: readonly unknown[] = [
  true,
  false,
  null,
  undefined,
  "gaussian",
  "eva",
  "orthogonal",
]

/** Keys that may be set to nothing, and what to say of them when they are not. */
const REFUSED: Readonly<Record<string, string>> = {
  bias: "trains the base's biases too; merge it with PEFT (merge_and_unload) and use the merged model",
  lora_bias: "adds biases to the adapter; merge it with PEFT (merge_and_unload)",
  trainable_token_indices: "changes rows of the embedding; merge it with PEFT (merge_and_unload)",
  alora_invocation_tokens:
    "applies the adapter only from those tokens on, which dftune does not do",
  layer_replication: "makes new layers out of the base's, which dftune does not do",
  target_parameters: "adapts parameters that are no linear layers, which dftune does not do",
}

const isNothing = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  (Array.isArray(value) && value.length === 0) ||
  (isObject(value) && Object.keys(value).length === 0)

/**
 * @throws InputError for whatever may make the tensors mean something that this decoder does not do
 */
function refuseVariants(json: JsonObject, path: string): void {
  if (json.peft_type !== "LORA") {
    throw new InputError(
      `${path}: expected "peft_type" to be LORA, got ${describeValue(json.peft_type)}`,
    )
  }
  const { init_lora_weights: start } = json
  if (!PLAIN_STARTS.includes(start)) {
    throw new InputError(
      `${path}: "init_lora_weights": ${describeValue(start)} starts by changing the base's weights, ` +
        "so this adapter fits only the base as it was then. PEFT converts it: save it again with " +
        "save_pretrained(..., path_initial_model_for_weight_conversion=...), or merge it there",
    )
  }
  for (const [key, value] of Object.entries(json)) {
    if (HARMLESS.has(key) || key === "init_lora_weights" || isNothing(value)) continue
    if (key === "bias" && value === "none") continue
    const reason = REFUSED[key] ?? "is a setting that dftune does not know, and so cannot honour"
    throw new InputError(`${path}: "${key}": ${describeValue(value)} ${reason}`)
  }
}

/** A reward model's adapter: PEFT saves the score with it. */
function isScore({ task_type, modules_to_save: saved }: JsonObject): boolean {
  return task_type === SEQUENCE_CLASSIFICATION && Array.isArray(saved) && saved.includes("score")
}

const SEQUENCE_CLASSIFICATION = "SEQ_CLS"

const isNames = (value: unknown): value is ModuleNames =>
  typeof value === "string" || (Array.isArray(value) && value.every((x) => typeof x === "string"))

/** The keys that say which modules are adapted and how far, checked for their types. */
class AdapterKeys {
  readonly #json: JsonObject
  readonly #path: string

  constructor(json: JsonObject, path: string) {
    this.#json = json
    this.#path = path
  }

  number(key: string, otherwise?: number): number {
    const value = this.#json[key] ?? otherwise
    if (typeof value === "number" && Number.isFinite(value)) return value
    return this.#refuse(key, "a number")
  }

  names(key: string): ModuleNames | undefined {
    const value = this.#json[key] ?? undefined
    if (value === undefined || isNames(value)) return value
    return this.#refuse(key, "names of modules or a regular expression")
  }

  list(key: string): readonly string[] {
    const names = this.names(key) ?? []
    return typeof names === "string" ? this.#refuse(key, "a list of modules' names") : names
  }

  numbers(key: string): Readonly<Record<string, number>> {
    const value = this.#json[key] ?? {}
    const valid = isObject(value) && Object.values(value).every((x) => typeof x === "number")
    return valid ? (value as Record<string, number>) : this.#refuse(key, "numbers by pattern")
  }

  layers(key: string): readonly number[] | undefined {
    const value = this.#json[key] ?? undefined
    if (value === undefined) return undefined
    const list = Array.isArray(value) ? value : [value]
    if (list.every((x) => Number.isInteger(x) && x >= 0)) return list as number[]
    return this.#refuse(key, "a layer's number or a list of them")
  }

  #refuse(key: string, expected: string): never {
    throw new InputError(
      `${this.#path}: expected "${key}" to be ${expected}, got ${describeValue(this.#json[key])}`,
    )
  }
}

/** @throws InputError naming the key, what was expected and what came */
export function parseAdapterConfig(json: JsonObject, path: string): AdapterConfig {
  refuseVariants(json, path)
  const scores = isScore(json)
  const keys = new AdapterKeys(json, path)
  const targets = keys.names("target_modules")
  const options: LoraOptions = {
    loraRank: keys.number("r"),
    loraAlpha: keys.number("lora_alpha"),
    loraDropout: keys.number("lora_dropout", 0),
    useRslora: json.use_rslora === true,
    useDora: json.use_dora === true,
    ...(targets === undefined ? {} : { targetModules: targets }),
    excludeModules: keys.names("exclude_modules"),
    layersToTransform: keys.layers("layers_to_transform"),
    rankPattern: keys.numbers("rank_pattern"),
    alphaPattern: keys.numbers("alpha_pattern"),
    // PEFT names both of what such a head may be called
    modulesToSave: keys.list("modules_to_save").filter((name) => !scores || name !== "classifier"),
  }
  const base = json.base_model_name_or_path
  const baseModel = typeof base === "string" && base !== "" ? base : null
  return { options, baseModel, scores }
}

/** Names as they were given; `all-linear` becomes the modules' own names, as PEFT writes it. */
function writtenTargets(spec: LoraSpec): ModuleNames {
  const { targetModules: given = "all-linear" } = spec.options
  if (given !== "all-linear") return given
  return [...new Set(targetModules(spec).map((module) => module.split(".").at(-1)!))]
}

/**
 * What was excluded, and the layers' modules that train whole: PEFT would give those an update
 * besides.
 */
function writtenExclusions({ options, saved }: LoraSpec): ModuleNames | undefined {
  const { excludeModules: given } = options
  const whole = [...saved.tensors].filter((name) => layerTensor(name)?.name.endsWith(".weight"))
  const paths = whole.map((name) => name.replace(/\.weight$/, ""))
  if (paths.length === 0) return given
  if (typeof given !== "string") return [...new Set([...(given ?? []), ...paths])]
  return [`(?:${given})`, ...paths.map((path) => path.replaceAll(".", "\\."))].join("|")
}

/** adapter_config.json of an adapter, for PEFT. */
export function adapterConfig({ spec, baseModel, scores }: AdapterFiles): JsonObject {
  const { layersToTransform, rankPattern, alphaPattern } = spec.options
  const excludeModules = writtenExclusions(spec)
  return {
    peft_type: "LORA",
    task_type: scores ? SEQUENCE_CLASSIFICATION : "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    r: spec.loraRank,
    lora_alpha: spec.loraAlpha,
    lora_dropout: spec.loraDropout,
    use_rslora: spec.useRslora,
    use_dora: spec.useDora,
    target_modules: writtenTargets(spec),
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: spec.saved.names.length > 0 ? spec.saved.names : null,
    rank_pattern: rankPattern ?? {},
    alpha_pattern: alphaPattern ?? {},
    ...(excludeModules === undefined ? {} : { exclude_modules: excludeModules }),
    ...(layersToTransform === undefined ? {} : { layers_to_transform: layersToTransform }),
  }
}
