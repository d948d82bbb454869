/** Keys of other trainers found in a config, and the line to write here in their place. */
import { optimizerNamed } from "./optimizer-names.ts"
import { type Line, MORE_LINES, named, text, within, write } from "./other-trainer-keys.ts"
import { allUnquoted } from "./quoted-values.ts"

type Config = Readonly<Record<string, unknown>>
const inData = (name: string): Line => within("data", name)
/** axolotl's list has a mapping for each: its path is what is meant. */
const pathOf = (value: unknown): string =>
  typeof value === "object" && value !== null && "path" in value
    ? text((value as { readonly path: unknown }).path)
    : text(value)
const trains: Line = (value) =>
  `write data: { train: [${(Array.isArray(value) ? value : [value]).map(pathOf).join(", ")}] }`
/** A switch: the line where it is on, that it can go where it is off. */
const on =
  (line: string): Line =>
  (value) =>
    value === false || value === null || value === 0 || value === "none"
      ? "leave it out: that is the default here"
      : `write ${line}`
/** What an adapter's setting is called elsewhere, in order of preference. */
const ADAPTER_KEYS: Readonly<Record<string, readonly string[]>> = {
  r: ["lora_r", "lora_rank"],
  lora_alpha: ["lora_alpha"],
  lora_dropout: ["lora_dropout"],
  target_modules: ["target_modules", "lora_target_modules", "lora_target"],
  use_rslora: ["use_rslora"],
  use_dora: ["use_dora", "peft_use_dora"],
}

/** The whole adapter, of all the keys that the config has for it. */
const adapter: Line = (_, config) => {
  const parts = Object.entries(ADAPTER_KEYS).flatMap(([name, keys]) => {
    const key = keys.find((each) => config[each] !== undefined)
    if (key === undefined) return []
    const value = config[key] === "all" ? "all-linear" : text(config[key])
    return [`${name}: ${value}`]
  })
  return `write adapter: { ${["type: lora", ...parts].join(", ")} }`
}

/** mlx-lm multiplies B A with its scale, PEFT with lora_alpha / r. */
const mlxAdapter: Line = (value) => {
  const { rank = 8, scale = 20, dropout = 0 } = (value ?? {}) as Record<string, number>
  return `write adapter: { type: lora, r: ${rank}, lora_alpha: ${rank * scale}, lora_dropout: ${dropout} }`
}

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

/** LLaMA-Factory's stage, axolotl's rl. */
const stage: Line = (value, config) => {
  if (value === "sft") return config.use_dft_loss ? "write objective: dft" : "write objective: sft"
  if (value === "dpo" && typeof config.pref_beta === "number") {
    return `write objective: { name: dpo, beta: ${config.pref_beta} }`
  }
  const known = ["dpo", "kto", "simpo", "orpo", "grpo", "ppo"]
  return known.includes(String(value))
    ? `write objective: ${value}`
    : "write objective: with a name of docs/objectives.md"
}
const beta: Line = (value) => `write objective: { name: dpo, beta: ${text(value)} }`
const bits: Line = (value) =>
  value === 4 || value === 8
    ? `write quantization: int${value}, with an adapter`
    : "write quantization: int4 or int8, with an adapter"
/** What the assistant says is what is trained, unless asked otherwise. */
const completions =
  (trainsAll: unknown): Line =>
  (value) =>
    value === trainsAll
      ? "write it under data: supervise: all"
      : "leave it out: completions alone are trained here, unless data.supervise says all"
/** The same where it is a number; else what takes its place. */
const steps =
  (name: string): Line =>
  (value) =>
    `write ${name}: ${typeof value === "number" ? value : "with a number of steps"}`

const BF16 =
  "engine: { dtype: bf16 }, or leave it out: where the processor multiplies it, it is used"

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
  bf16: on(BF16),
  fp16: on(`${BF16}; float16 is not offered`),
  tf32: write("nothing: it is the torch engine's own choice"),
  load_in_4bit: on("quantization: int4, with an adapter"),
  load_in_8bit: on("quantization: int8, with an adapter"),
  use_peft: on("adapter: { type: lora }"),
  finetuning_type: (value) =>
    value === "full" ? "leave adapter: out for full fine-tuning" : "write adapter: { type: lora }",
  lora_r: adapter,
  lora_rank: adapter,
  lora_alpha: adapter,
  lora_dropout: adapter,
  lora_target: adapter,
  lora_target_modules: adapter,
  target_modules: adapter,
  use_rslora: adapter,
  use_dora: adapter,
  peft_use_dora: adapter,
  evaluation_strategy: write("eval_steps: with a number of steps"),
  eval_strategy: write("eval_steps: with a number of steps"),
  save_strategy: write("save_steps: with a number of steps"),
  logging_steps: write("nothing: every step is in events.jsonl"),
  optim: (value) =>
    `write optimizer: ${optimizerNamed(value) ?? "with a name of docs/configuration.md"}`,
  resume_from_checkpoint: named("resume"),
  flash_attention: write("nothing: the engines choose their kernels"),
  deepspeed: write("engine: torch (FSDP2)"),
  fsdp: write("engine: torch (FSDP2)"),
  stage,
  rl: stage,
  pref_beta: beta,
  beta,
  quantization_bit: bits,
  dataset_dir: write("the rows' own path under data: train:"),
  template: (value) =>
    /\.jinja$/.test(String(value))
      ? `write it under data: template: ${text(value)}`
      : "leave it out: the model's own chat template is used, or data: { template: FILE.jinja }",
  fine_tune_type: (value) =>
    value === "full" ? "leave adapter: out for full fine-tuning" : "write adapter: lora",
  num_layers: write("nothing: all layers have an adapter"),
  lora_layers: write("nothing: all layers have an adapter"),
  lora_parameters: mlxAdapter,
  mask_prompt: completions(false),
  assistant_only_loss: completions(false),
  completion_only_loss: completions(false),
  train_on_inputs: completions(true),
  train_on_prompt: completions(true),
  train_on_responses_only: completions(false),
  use_gradient_checkpointing: on("recompute: always, or auto (the default: by the memory at hand)"),
  grad_checkpoint: on("recompute: always"),
  val_set_size: inData("eval_split"),
  random_state: named("seed"),
  steps_per_eval: steps("eval_steps"),
  save_every: steps("save_steps"),
  steps_per_report: write("nothing: every step is in events.jsonl"),
  adapter_path: named("output_dir"),
  wandb_project: write("report_to: with a name of docs/configuration.md"),
  attn_implementation: write("nothing: the engines choose their kernels"),
  flash_attn: write("nothing: the engines choose their kernels"),
  use_liger_kernel: write("nothing: logits are never whole here"),
  torch_dtype: write(BF16),
  plot_loss: write("nothing: every run has a report.html"),
  do_train: write("nothing: dftune train trains"),
}

/** `write batch_size: 32 ...` for a key of another trainer; undefined for any other key. */
export function lineForKey(key: string, config: unknown): string | undefined {
  const lines = Object.hasOwn(LINES, key) ? LINES : MORE_LINES
  if (!Object.hasOwn(lines, key)) return undefined
  const given = allUnquoted(config ?? {}) as Config
  return lines[key]!(given[key], given)
}

/** The same for a value that is another trainer's under a key that is also ours. */
export function lineForValue(path: readonly PropertyKey[], value: unknown): string | undefined {
  const key = path.join(".")
  if (key === "adapter" && value === "qlora") return "write adapter: lora and quantization: int4"
  if (key !== "data" || typeof value !== "string") return undefined
  const isFile = /\.\w+$/.test(value)
  return isFile
    ? `write data: { train: ${value} }`
    : `write data: { train: ${value.replace(/\/$/, "")}/train.jsonl, eval: ${value.replace(/\/$/, "")}/valid.jsonl }, or what the folder holds`
}
