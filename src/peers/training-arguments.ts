import { OPTIMIZERS, type OptimizerName, optimizerNamed } from "../config/optimizer-names.ts"
import { missing, nothing, put, type Rule, type Rules, to } from "./draft.ts"

const SCHEDULERS: Readonly<Record<string, string>> = {
  cosine: "cosine",
  linear: "linear",
  constant: "constant",
  constant_with_warmup: "constant",
  cosine_with_min_lr: "cosine_with_min_lr",
  warmup_stable_decay: "warmup_stable_decay",
}

/** By Transformers' names, of which a floor has two. */
const SCHEDULE_OPTIONS: Readonly<Record<string, string>> = {
  min_lr_rate: "min_lr_rate",
  min_lr_ratio: "min_lr_rate",
  num_decay_steps: "num_decay_steps",
  decay_type: "decay_type",
}

const scheduleOptions: Rule = (value, draft) => {
  const lost: string[] = []
  for (const [name, given] of Object.entries((value ?? {}) as Record<string, unknown>)) {
    const known = SCHEDULE_OPTIONS[name]
    if (known === undefined) lost.push(name)
    else put(draft, `lr_scheduler_kwargs.${known}`, given)
  }
  if (lost.length === 0) return undefined
  const floor = lost.includes("min_lr")
    ? "; a floor is min_lr_rate here: min_lr / learning_rate"
    : ""
  return `left out: ${lost.join(", ")}${floor}`
}

export const scheduler: Rule = (value, draft) => {
  const known = SCHEDULERS[String(value)]
  if (known === undefined) {
    put(draft, "lr_scheduler", "cosine")
    return `no such schedule here (${Object.keys(SCHEDULERS).join(", ")}); cosine is set instead`
  }
  put(draft, "lr_scheduler", known)
  // Transformers' plain constant ignores warmup.
  if (value === "constant") put(draft, "warmup_ratio", 0)
  return undefined
}

/**
 * Beside the names of one arithmetic (`optimizerNamed`): what is taken for another, with a word.
 */
const NEAREST: Readonly<Record<string, readonly [OptimizerName, note?: string]>> = {
  adam: ["adamw"],
  lion_8bit: ["lion", "its moment takes float32 here"],
  paged_lion_8bit: ["lion", "its moment takes float32 here"],
}

export const optimizer: Rule = (value, draft) => {
  const known = optimizerNamed(value)
  const [name, note] = known ? [known] : (NEAREST[String(value)] ?? [])
  if (name === undefined) return `not offered; dftune trains with ${OPTIMIZERS.join(", ")}`
  // AdamW is what a config without the key trains with
  if (name !== "adamw") put(draft, "optimizer", name)
  return note
}

/** Of a mixture of experts. */
export const routerLoss: Rule = to("router_aux_loss_coef")

const precision: Rule = (value) =>
  value === true || value === "bfloat16" || value === "auto" || value === "float16"
    ? "engine.dtype decides here, and is bf16 by itself where the processor multiplies it and the model has 50 million parameters; engine: { name: torch, dtype: bf16 } multiplies in bfloat16 and keeps float32 weights"
    : undefined

const strategy =
  (key: "save_steps" | "eval_steps"): Rule =>
  (value, draft) => {
    if (value === "no") put(draft, key, 0)
    else if (value === "epoch") return `counts in steps here: set ${key}`
    return undefined
  }

const steps =
  (key: string): Rule =>
  (value, draft) => {
    if (typeof value === "number" && value >= 1) put(draft, key, Math.round(value))
    else if (typeof value === "number") return `a share of the run; ${key} counts steps here`
    return undefined
  }

/** A whole number of rows; `auto` is found while training there, and noted. */
export const counted =
  (field: "perDevice" | "accumulation"): Rule =>
  (value, draft) => {
    const count = Number(value)
    if (typeof value !== "boolean" && Number.isInteger(count) && count >= 1) {
      draft[field] = count
      return undefined
    }
    return "no number: 1 is taken for it in batch_size, so set batch_size by hand"
  }

export const template: Rule = (value, draft) => {
  if (typeof value === "string" && /\.jinja2?$/.test(value)) put(draft, "data.template", value)
  else return "chats go through the model's own template; give a .jinja file in data.template"
  return undefined
}

/** `transformers.TrainingArguments`, which TRL, LLaMA-Factory and ms-swift share. */
export const TRAINING_ARGUMENTS: Rules = {
  output_dir: to("output_dir"),
  learning_rate: to("learning_rate"),
  num_train_epochs: to("num_train_epochs"),
  max_steps: (value, draft) => {
    if (typeof value === "number" && value > 0) put(draft, "max_steps", value)
    return undefined
  },
  per_device_train_batch_size: counted("perDevice"),
  gradient_accumulation_steps: counted("accumulation"),
  lr_scheduler_type: scheduler,
  lr_scheduler_kwargs: scheduleOptions,
  warmup_ratio: to("warmup_ratio"),
  warmup_steps: (value, draft) => {
    // Transformers 5 takes a share here too.
    if (typeof value === "number" && value > 0 && value < 1) put(draft, "warmup_ratio", value)
    else if (typeof value === "number" && value >= 1) draft.warmupSteps = value
  },
  weight_decay: to("weight_decay"),
  adam_beta1: to("adam_beta1"),
  adam_beta2: to("adam_beta2"),
  adam_epsilon: to("adam_epsilon"),
  max_grad_norm: to("max_grad_norm"),
  seed: to("seed"),
  data_seed: missing("one seed serves order, adapter and sampling: set seed"),
  save_steps: steps("save_steps"),
  eval_steps: steps("eval_steps"),
  save_total_limit: to("save_total_limit"),
  save_strategy: strategy("save_steps"),
  eval_strategy: strategy("eval_steps"),
  evaluation_strategy: strategy("eval_steps"),
  optim: optimizer,
  bf16: precision,
  fp16: precision,
  dtype: precision,
  torch_dtype: precision,
  model_revision: to("model_revision"),
  gradient_checkpointing: (value, draft) => {
    if (typeof value === "boolean") put(draft, "recompute", value ? "always" : "auto")
  },
  label_smoothing_factor: missing(
    "label smoothing is not offered: weights come from the plain NLL",
  ),
  neftune_noise_alpha: to("neftune_noise_alpha"),
  resume_from_checkpoint: missing("checkpoints of other trainers cannot be continued"),
  load_best_model_at_end: (value, draft) => {
    if (value === true) put(draft, "load_best_model_at_end", true)
  },
  metric_for_best_model: to("metric_for_best_model"),
  greater_is_better: to("greater_is_better"),
  early_stopping_patience: to("early_stopping_patience"),
  early_stopping_threshold: to("early_stopping_threshold"),
  router_aux_loss_coef: routerLoss,
  deepspeed: missing("the torch engine shards with FSDP2: engine: { name: torch }"),
  fsdp: missing("the torch engine shards with FSDP2: engine: { name: torch }"),
  group_by_length: missing("rows are packed, which needs no grouping by length"),
  ...Object.fromEntries(
    [
      ..."do_train do_eval logging_steps logging_strategy logging_first_step logging_dir report_to".split(
        " ",
      ),
      ..."run_name overwrite_output_dir overwrite_cache remove_unused_columns disable_tqdm".split(
        " ",
      ),
      ..."dataloader_num_workers dataloader_pin_memory dataloader_drop_last ddp_timeout".split(" "),
      ..."ddp_find_unused_parameters push_to_hub hub_model_id save_only_model save_safetensors".split(
        " ",
      ),
      ..."gradient_checkpointing_kwargs per_device_eval_batch_size tf32 use_liger_kernel".split(
        " ",
      ),
      ..."attn_implementation trust_remote_code include_num_input_tokens_seen fsdp_config".split(
        " ",
      ),
      ..."preprocessing_num_workers dataset_num_proc plot_loss flash_attn local_rank".split(" "),
    ].map((key) => [key, nothing]),
  ),
}

/** Defaults of `transformers.TrainingArguments` where ours are others. */
export const TRAINING_ARGUMENTS_DEFAULTS = {
  learning_rate: 5e-5,
  num_train_epochs: 3,
  per_device_train_batch_size: 8,
  gradient_accumulation_steps: 1,
  lr_scheduler_type: "linear",
  warmup_ratio: 0,
  weight_decay: 0,
  adam_beta2: 0.999,
  max_grad_norm: 1,
  seed: 42,
  save_steps: 500,
} as const
