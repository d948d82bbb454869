import { InputError } from "../../errors.ts"
import { type Folder, requiredObjectIn } from "../../formats/folder.ts"
import type { JsonObject } from "../../formats/json.ts"
import { openCheckpointIn } from "../../formats/tensor-folder-reader.ts"
import {
  type LoraOptions,
  type LoraSpec,
  loraParameters,
  loraSpec,
  targetModules,
} from "../adapters/lora.ts"
import type { DecoderShape } from "../families/shape.ts"
import { checkTensors } from "./checkpoint-tensors.ts"

export const ADAPTER_CONFIG = "adapter_config.json"
const PREFIX = "adapter_model"
export const ADAPTER_TENSORS = `${PREFIX}.safetensors`

/** An adapter as PEFT stores it. */
export interface AdapterFiles {
  readonly spec: LoraSpec
  /** What it was trained on: a folder or hub id. */
  readonly baseModel: string | null
}

/** What adapter_config.json says of an adapter, for PEFT. */
export function adapterConfig({ spec, baseModel }: AdapterFiles): JsonObject {
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    r: spec.loraRank,
    lora_alpha: spec.loraAlpha,
    lora_dropout: spec.loraDropout,
    use_rslora: spec.useRslora,
    use_dora: false,
    target_modules: targetModules(spec).map((module) => module.split(".").at(-1)),
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    rank_pattern: {},
    alpha_pattern: {},
  }
}

/** Settings that would make the tensors mean something that this decoder does not do. */
const REFUSED: Readonly<Record<string, (value: unknown) => boolean>> = {
  use_dora: (value) => value === true,
  fan_in_fan_out: (value) => value === true,
  bias: (value) => value !== undefined && value !== "none",
  modules_to_save: (value) => Array.isArray(value) && value.length > 0,
  layers_to_transform: (value) => value !== undefined && value !== null,
  rank_pattern: (value) => Object.keys((value as object) ?? {}).length > 0,
  alpha_pattern: (value) => Object.keys((value as object) ?? {}).length > 0,
}

/** What adapter_config.json says, before it is held to a base model. */
export interface AdapterConfig {
  readonly options: LoraOptions
  readonly baseModel: string | null
}

/** @throws InputError naming the key and what was expected */
export async function adapterConfigIn(folder: Folder): Promise<AdapterConfig> {
  const path = folder.pathOf(ADAPTER_CONFIG)
  const json = await requiredObjectIn(folder, ADAPTER_CONFIG)
  if (json.peft_type !== "LORA") {
    throw new InputError(
      `${path}: expected "peft_type" to be LORA, got ${JSON.stringify(json.peft_type)}`,
    )
  }
  for (const [key, refused] of Object.entries(REFUSED)) {
    if (refused(json[key])) {
      throw new InputError(`${path}: "${key}": ${JSON.stringify(json[key])} is not supported`)
    }
  }
  const number = (key: string, otherwise?: number): number => {
    const value = json[key] ?? otherwise
    if (typeof value === "number" && Number.isFinite(value)) return value
    throw new InputError(`${path}: expected "${key}" to be a number, got ${JSON.stringify(value)}`)
  }
  const options: LoraOptions = {
    loraRank: number("r"),
    loraAlpha: number("lora_alpha"),
    loraDropout: number("lora_dropout", 0),
    useRslora: json.use_rslora === true,
    targetModules: targetNames(json.target_modules, path),
  }
  const base = json.base_model_name_or_path
  return { options, baseModel: typeof base === "string" ? base : null }
}

/** PEFT may list modules layer by layer (`model.layers.0.self_attn.q_proj`): all layers or none. */
function targetNames(value: unknown, path: string): "all-linear" | string[] {
  if (value === "all-linear") return value
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) {
    const modules = value.map((item) => item.replace(/^(?:.*\.)?layers\.\d+\./, ""))
    return [...new Set(modules)]
  }
  throw new InputError(`${path}: expected "target_modules" to be a list of names or "all-linear"`)
}

/** The adapter's tensors by PEFT's names, float32; checked against what the base's shape asks for. */
export async function readAdapterIn(
  folder: Folder,
  shape: DecoderShape,
): Promise<AdapterFiles & { readonly tensors: ReadonlyMap<string, Float32Array> }> {
  const { options, baseModel } = await adapterConfigIn(folder)
  const spec = loraSpec(options, shape, folder.pathOf(ADAPTER_CONFIG))
  const reader = await openCheckpointIn(folder, { prefix: PREFIX })
  try {
    const parameters = loraParameters(shape, spec)
    checkTensors(reader, parameters, { where: folder.pathOf(ADAPTER_TENSORS) })
    const tensors = new Map<string, Float32Array>()
    for (const { name } of parameters) tensors.set(name, await reader.readFloat32(name))
    return { spec, baseModel, tensors }
  } finally {
    await reader.close()
  }
}
