/**
 * Keys of other trainers that are found here by another road: under `rollout`, in an export,
 * nowhere.
 */

/** What to write, from the key's value and the config around it. */
export type Line = (value: unknown, config: Readonly<Record<string, unknown>>) => string

export const text = (value: unknown): string =>
  typeof value === "string" ? value : (JSON.stringify(value) ?? "...")
export const write =
  (line: string): Line =>
  () =>
    `write ${line}`
/** The same value under another name. */
export const named =
  (name: string): Line =>
  (value) =>
    `write ${name}: ${text(value)}`
/** The same value within a mapping. */
export const within =
  (group: string, name: string): Line =>
  (value) =>
    `write it under ${group}: ${name}: ${text(value)}`
const nothing = (why: string): Line => write(`nothing: ${why}`)
const offTheTable = (why: string): Line => {
  return () => `it has nothing in its place: ${why}`
}

/** How a rollout's settings are written under one name, whatever the trainer's key holds. */
const inRollout = (name: string): Line => within("rollout", name)
const inObjective =
  (name: string): Line =>
  (value) =>
    `write it with the objective: objective: { name: ..., ${name}: ${text(value)} }`
/** The column that holds a part of a row. */
const column =
  (part: string): Line =>
  (value) =>
    `write data: { columns: { ${part}: ${text(value)} } }`

/** TRL's DPO losses: the three that are objectives of their own here, and the rest. */
const preferenceLoss: Line = (value) =>
  ["simpo", "orpo", "cpo", "kto"].includes(String(value))
    ? `write objective: ${text(value)}`
    : `write objective: { name: dpo, loss: ${text(value)} }`

/** So many a whole run, where a number of steps is meant here. */
const times =
  (name: string): Line =>
  (value) =>
    `write ${name}: with a number of steps (those of an epoch over ${text(value)}; dftune train --dry-run says how many a run has)`

const KERNELS = "the engines choose their kernels"
const ROWS_ARE_KEPT = "rows are prepared once and kept in dftune's cache"
const ADAPTER_START = "an adapter begins as adapter.init_lora_weights says"
const EVERY_STEP = "every step is in events.jsonl"
const ORDER = "the seed decides the order of the rows"
const NO_CODE = "code in a model folder is never run"
const HUB = "nothing here; upload afterwards: dftune export RUN --to hub --repo OWNER/NAME"

export const MORE_LINES: Readonly<Record<string, Line>> = {
  // where rows are, and how they are read
  dataset_text_field: column("text"),
  text_field: column("text"),
  text_column: column("text"),
  text_feature: column("text"),
  prompt_feature: column("prompt"),
  completion_feature: column("completion"),
  chat_feature: column("messages"),
  field_messages: column("messages"),
  dataset_config: (value) =>
    `write it with the rows: data: { train: { path: ..., name: ${text(value)} } }`,
  dataset_train_split: (value) =>
    `write it with the rows: data: { train: { path: ..., split: ${text(value)} } }`,
  dataset_split: (value) =>
    `write it with the rows: data: { train: { path: ..., split: ${text(value)} } }`,
  dataset_test_split: (value) =>
    `write it with the rows: data: { eval: { path: ..., split: ${text(value)} } }`,
  test_datasets: (value) => `write data: { eval: [${text(value)}] }`,
  hf_dataset: write("data: { train: owner/name }"),
  max_samples: (value) =>
    `write it with the rows: data: { train: { path: ..., max_rows: ${text(value)} } }`,
  interleave_probs: write("weight: with each entry of data: train:"),
  mix_strategy: write("weight: with each entry of data: train:"),
  dataset_num_proc: nothing(ROWS_ARE_KEPT),
  preprocessing_num_workers: nothing(ROWS_ARE_KEPT),
  dataloader_num_workers: nothing(ROWS_ARE_KEPT),
  dataloader_pin_memory: nothing(ROWS_ARE_KEPT),
  dataset_prepared_path: nothing(ROWS_ARE_KEPT),
  overwrite_cache: nothing("the cache goes by the rows' content"),
  streaming: nothing("rows are read as a stream; memory does not grow with their number"),
  shuffle_merged_datasets: nothing(ORDER),
  dataset_shuffle: nothing(ORDER),
  group_by_length: nothing("rows are packed (data.packing)"),
  pad_to_sequence_len: nothing("there is no padding: rows are packed (data.packing)"),
  padding_free: nothing("there is no padding: rows are packed (data.packing)"),
  padding_side: nothing("there is no padding: rows are packed (data.packing)"),
  eval_packing: nothing("data.packing is for all rows, and changes no number"),
  neat_packing: nothing("packed rows do not see each other"),
  chat_template_path: within("data", "template"),
  excess_length_strategy: nothing("rows are cut at data.max_length, and counted"),
  roles_to_train: nothing("what the assistant says is trained; data: { supervise: all } is more"),
  train_on_eos: nothing("the end of each turn is trained"),
  mask_history: write("data: { supervise: last }"),
  remove_unused_columns: nothing("columns that nothing is made of are passed over"),
  max_prompt_length: within("data", "max_length"),
  data_seed: named("seed"),
  // the model
  tokenizer_name_or_path: nothing("the tokenizer is the model folder's"),
  tokenizer_type: nothing("the tokenizer is the model folder's"),
  model_type: nothing("the model's own config.json says it"),
  trust_remote_code: nothing(NO_CODE),
  device_map: write("engine: with its device, or leave it out"),
  special_tokens: nothing("the tokenizer's own; new ones are model_tokens: [...]"),
  tokens: named("model_tokens"),
  adapter_name_or_path: within("adapter", "path"),
  lora_model_dir: within("adapter", "path"),
  resume_adapter_file: within("adapter", "path"),
  additional_target: within("adapter", "modules_to_save"),
  lora_modules_to_save: within("adapter", "modules_to_save"),
  lora_target_linear: write("adapter: { target_modules: all-linear }, the default"),
  modules_to_save: within("adapter", "modules_to_save"),
  init_lora_weights: within("adapter", "init_lora_weights"),
  loraplus_lr_ratio: within("adapter", "loraplus_lr_ratio"),
  pissa_init: write("adapter: { init_lora_weights: pissa }"),
  loftq_config: offTheTable(ADAPTER_START),
  lora_bias: offTheTable("an adapter has no biases"),
  full_finetuning: nothing("without adapter: all of the model is trained"),
  unfrozen_parameters: write("freeze: with what is not to be trained"),
  freeze_trainable_layers: write("freeze: with the layers that are not to be trained"),
  bnb_4bit_quant_type: nothing("quantization: int4 has one way (docs/training.md)"),
  bnb_4bit_compute_dtype: nothing("quantization: int4 computes as engine.dtype says"),
  bnb_4bit_use_double_quant: nothing("quantization: int4 has one way (docs/training.md)"),
  use_bnb_nested_quant: nothing("quantization: int4 has one way (docs/training.md)"),
  // the steps
  num_warmup_steps: named("warmup_steps"),
  warmup: named("warmup_steps"),
  epoch: named("num_train_epochs"),
  max_train_steps: named("max_steps"),
  train_batch_size: named("batch_size"),
  auto_find_batch_size: write("micro_batch_tokens: auto, the default"),
  lr_schedule: write("lr_scheduler: and warmup_steps:"),
  cosine_min_lr_ratio: (value) =>
    `write lr_scheduler: cosine_with_min_lr and lr_scheduler_kwargs: { min_lr_rate: ${text(value)} }`,
  optimizer_config: write("optimizer:, weight_decay: and adam_beta1: with their values"),
  label_smoothing_factor: offTheTable("no objective smooths its targets"),
  label_smoothing: inObjective("label_smoothing"),
  neftune_alpha: named("neftune_noise_alpha"),
  use_galore: write("optimizer: adamw-8bit or adafactor, for less memory"),
  use_badam: write("optimizer: adamw-8bit or adafactor, for less memory"),
  use_apollo: write("optimizer: adamw-8bit or adafactor, for less memory"),
  use_muon: write("optimizer: muon"),
  gradient_checkpointing_kwargs: nothing("recompute: says all of it"),
  disable_gradient_checkpointing: write("recompute: never"),
  full_determinism: nothing("the same config gives the same run"),
  // evaluation, saving and what is told
  evals_per_epoch: times("eval_steps"),
  saves_per_epoch: times("save_steps"),
  do_eval: nothing("data.eval or data.eval_split says it"),
  val_batches: nothing("all eval rows are measured"),
  save_only_model: nothing("a checkpoint is always one to go on from"),
  early_stopping: write("early_stopping_patience: with a number of evaluations"),
  logging_dir: write(
    "output_dir:, where events.jsonl is; report_to: [tensorboard] writes there too",
  ),
  logging_first_step: nothing(EVERY_STEP),
  logging_strategy: nothing(EVERY_STEP),
  log_level: nothing(EVERY_STEP),
  run_name: (value) => `write output_dir: runs/${text(value)}`,
  wandb_name: (value) => `write output_dir: runs/${text(value)}; a run is called after its folder`,
  wandb: write("report_to: [wandb]"),
  wandb_entity: write("report_to: [wandb]; WANDB_ENTITY in the environment is honoured"),
  wandb_run_id: write("report_to: [wandb]"),
  use_wandb: write("report_to: [wandb]"),
  mlflow_experiment_name: write("report_to: [mlflow]"),
  mlflow_tracking_uri: write(
    "report_to: [mlflow]; MLFLOW_TRACKING_URI in the environment is honoured",
  ),
  push_to_hub: () => `write ${HUB}`,
  hub_model_id: () => `write ${HUB}`,
  hub_strategy: () => `write ${HUB}`,
  hub_token: write(
    "nothing: HF_TOKEN in the environment is honoured, and no key belongs in a config",
  ),
  export_dir: write("nothing here; afterwards: dftune export RUN --to merged --out DIR"),
  save_safetensors: nothing("weights are always safetensors"),
  // preferences and samples
  pref_loss: preferenceLoss,
  dpo_beta: inObjective("beta"),
  simpo_gamma: inObjective("gamma"),
  cpo_alpha: inObjective("sft"),
  rpo_alpha: inObjective("sft"),
  desirable_weight: inObjective("desirable_weight"),
  undesirable_weight: inObjective("undesirable_weight"),
  kto_chosen_weight: inObjective("desirable_weight"),
  kto_rejected_weight: inObjective("undesirable_weight"),
  epsilon: inObjective("epsilon"),
  epsilon_high: inObjective("epsilon_high"),
  ref_model: named("reference"),
  precompute_ref_log_probs: nothing("the reference is measured once and kept"),
  reward_funcs: write("rollout: { rewards: [...] } (docs/rl.md)"),
  reward_model: write("rollout: { rewards: [{ model: FOLDER }] }"),
  num_generations: inRollout("num_generations"),
  num_iterations: inRollout("num_iterations"),
  max_completion_length: inRollout("max_new_tokens"),
  temperature: inRollout("temperature"),
  top_p: inRollout("top_p"),
  top_k: inRollout("top_k"),
  scale_rewards: inRollout("scale_rewards"),
  mask_truncated_completions: inRollout("mask_truncated_completions"),
  use_vllm: write("rollout: { source: { endpoint: URL, ... } } (docs/rl.md)"),
  vllm_mode: write("rollout: { source: { endpoint: URL, ... } } (docs/rl.md)"),
  // the machine
  dataloader_drop_last: nothing("an epoch has all rows"),
  ddp_timeout: write("engine: torch, which has its own"),
  ddp_find_unused_parameters: nothing("engine: torch shards by FSDP2"),
  fsdp_config: write("engine: torch (FSDP2)"),
  torch_compile: nothing(KERNELS),
  xformers_attention: nothing(KERNELS),
  sdp_attention: nothing(KERNELS),
  enable_liger_kernel: nothing("logits are never whole here"),
  cut_cross_entropy: nothing("logits are never whole here"),
  use_unsloth: nothing(KERNELS),
  plugins: nothing(KERNELS),
  pure_bf16: write("engine: { dtype: bf16 }, also with name: torch"),
  bfloat16: write("engine: { dtype: bf16 }, also with name: torch"),
  compute_dtype: write("engine: with its dtype: bf16 or fp32"),
  upcast_layernorm: nothing("norms are computed in float32"),
  gpu_memory_utilization: write("device_memory: with a size, or leave it out"),
  sequence_parallel_degree: offTheTable("a row lies on one device"),
  context_parallel_size: offTheTable("a row lies on one device"),
}
