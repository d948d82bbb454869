import type { Source } from "./source.ts"

/** LLaMA-Factory's second generation (`examples/v1`): other names for the same settings. */

export const isVersionOne = (keys: ReadonlySet<string>): boolean =>
  keys.has("train_dataset") ||
  (keys.has("model") && (keys.has("peft_config") || keys.has("model_class")))

const NAMES: Readonly<Record<string, string>> = {
  model: "model_name_or_path",
  train_dataset: "dataset",
  micro_batch_size: "per_device_train_batch_size",
  global_batch_size: "global_batch_size",
  optim_config: "optim_config",
}

/** Of no consequence for the result. */
const IDLE =
  /^(?:model_class|kernel_config|dist_config|sample_backend|max_new_tokens|logging_steps|flash_attn|init_config|batching_strategy|batching_workers|report_to|trust_remote_code|enable_activation_checkpointing|save_epochs)$/

/** The same settings by the first generation's names; what has none keeps its own and is noted. */
export function versionOne(source: Source): Source {
  const settings: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(source.settings)) {
    if (IDLE.test(key)) continue
    if (key === "peft_config") Object.assign(settings, adapterSettings(value))
    else if (key === "quant_config") Object.assign(settings, quantSettings(value))
    else settings[NAMES[key] ?? key] = value
  }
  settings.finetuning_type ??= "full"
  return { ...source, settings }
}

function adapterSettings(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) return {}
  const { name, r, lora_alpha, lora_dropout, target_modules, export_dir, ...more } =
    value as Record<string, unknown>
  return {
    finetuning_type: name ?? "lora",
    ...(r === undefined ? {} : { lora_rank: r }),
    ...(lora_alpha === undefined ? {} : { lora_alpha }),
    ...(lora_dropout === undefined ? {} : { lora_dropout }),
    ...(target_modules === undefined ? {} : { lora_target: target_modules }),
    ...(export_dir === undefined ? {} : { export_dir }),
    ...Object.fromEntries(Object.entries(more).map(([key, part]) => [`peft_config.${key}`, part])),
  }
}

function quantSettings(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) return {}
  const { quantization_bit, name, ...more } = value as Record<string, unknown>
  return {
    ...(quantization_bit === undefined ? {} : { quantization_bit }),
    ...(name === undefined || name === "auto" || name === "bnb"
      ? {}
      : { quantization_method: name }),
    ...Object.fromEntries(Object.entries(more).map(([key, part]) => [`quant_config.${key}`, part])),
  }
}
