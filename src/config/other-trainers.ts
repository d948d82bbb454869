/** Keys of other trainers found in a config, and the line to write here in their place. */

type Config = Readonly<Record<string, unknown>>
/** What to write, from the key's value and the config around it. */
type Line = (value: unknown, config: Config) => string

const text = (value: unknown): string =>
  typeof value === "string" ? value : (JSON.stringify(value) ?? "...")
const write =
  (line: string): Line =>
  () =>
    `write ${line}`
/** The same value under another name. */
const named =
  (name: string): Line =>
  (value) =>
    `write ${name}: ${text(value)}`
const inData =
  (name: string): Line =>
  (value) =>
    `write it under data: ${name}: ${text(value)}`
const trains: Line = (value) => `write data: { train: [${text(value)}] }`
/** A switch: the line where it is on, that it can go where it is off. */
const on =
  (line: string): Line =>
  (value) =>
    value === false || value === null || value === 0 || value === "none"
      ? "leave it out: that is the default here"
      : `write ${line}`
const adapterKey =
  (name: string): Line =>
  (value) =>
    `write adapter: { type: lora, ${name}: ${text(value)} }`

const numberOf = (config: Config, ...names: string[]): number | undefined =>
  names.map((name) => config[name]).find((value): value is number => typeof value === "number")

/** Sequences per step: the per-device batch times the accumulation steps. */
const batch: Line = (_, config) => {
  const device = numberOf(config, "per_device_train_batch_size", "micro_batch_size") ?? 1
  const times = numberOf(config, "gradient_accumulation_steps") ?? 1
  return `write batch_size: ${device * times} (${device} x ${times}, and times your processes; micro-batches follow by themselves)`
}

const loss: Line = (value) =>
  value === "dft" || value === true ? "write objective: dft" : "write objective: sft, or dft"

const LINES: Readonly<Record<string, Line>> = {
  loss_type: loss,
  use_dft_loss: on("objective: dft"),
  enable_dft_loss: on("objective: dft"),
  use_dft: on("objective: dft"),
  liger_use_token_scaling: on("objective: dft"),
  use_asft_loss: on("objective: asft"),
  use_eaft_loss: on("objective: eaft"),
  use_eaft: on("objective: eaft"),
  objective_trans: write("objective: with a name of docs/objectives.md"),
  model_name_or_path: named("model"),
  model_name: named("model"),
  base_model: named("model"),
  dataset: trains,
  datasets: trains,
  dataset_name: trains,
  train_file: trains,
  eval_dataset: (value) => `write data: { eval: [${text(value)}] }`,
  val_size: inData("eval_split"),
  max_seq_length: inData("max_length"),
  sequence_len: inData("max_length"),
  cutoff_len: inData("max_length"),
  max_length: inData("max_length"),
  packing: inData("packing"),
  sample_packing: inData("packing"),
  chat_template: inData("template"),
  lr: named("learning_rate"),
  learning_rate_scheduler: named("lr_scheduler"),
  lr_scheduler_type: named("lr_scheduler"),
  num_epochs: named("num_train_epochs"),
  epochs: named("num_train_epochs"),
  iters: named("max_steps"),
  max_grad_norm_clip: named("max_grad_norm"),
  gradient_clipping: named("max_grad_norm"),
  per_device_train_batch_size: batch,
  gradient_accumulation_steps: batch,
  micro_batch_size: batch,
  per_device_eval_batch_size: write("micro_batch_tokens:, or leave it out"),
  gradient_checkpointing: on("recompute: always"),
  bf16: on("engine: { name: torch, dtype: bf16 }"),
  fp16: on("engine: { name: torch, dtype: bf16 }; float16 is not offered"),
  tf32: write("nothing: it is the torch engine's own choice"),
  load_in_4bit: on("quantization: int4, with an adapter"),
  load_in_8bit: on("quantization: int8, with an adapter"),
  use_peft: on("adapter: { type: lora }"),
  finetuning_type: (value) =>
    value === "full" ? "leave adapter: out for full fine-tuning" : "write adapter: { type: lora }",
  lora_r: adapterKey("r"),
  lora_rank: adapterKey("r"),
  lora_alpha: adapterKey("lora_alpha"),
  lora_dropout: adapterKey("lora_dropout"),
  lora_target: adapterKey("target_modules"),
  lora_target_modules: adapterKey("target_modules"),
  target_modules: adapterKey("target_modules"),
  use_rslora: adapterKey("use_rslora"),
  evaluation_strategy: write("eval_steps: with a number of steps"),
  eval_strategy: write("eval_steps: with a number of steps"),
  save_strategy: write("save_steps: with a number of steps"),
  logging_steps: write("nothing: every step is in events.jsonl"),
  optim: write("optimizer: (docs/configuration.md has its names)"),
  resume_from_checkpoint: named("resume"),
  flash_attention: write("nothing: the engines choose their kernels"),
  deepspeed: write("engine: torch (FSDP2)"),
  fsdp: write("engine: torch (FSDP2)"),
  stage: write("objective: with a name of docs/objectives.md"),
}

/** `write batch_size: 32 ...` for a key of another trainer; undefined for any other key. */
export function lineForKey(key: string, config: unknown): string | undefined {
  if (!Object.hasOwn(LINES, key)) return undefined
  const given = (config ?? {}) as Config
  return LINES[key]!(given[key], given)
}
