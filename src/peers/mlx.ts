import { missing, nothing, type Peer, put, type Rule, to } from "./draft.ts"
import { optimizer, TRAINING_ARGUMENTS } from "./training-arguments.ts"

/** A folder with train.jsonl and valid.jsonl, or a hub id. */
const folder: Rule = (value, draft) => {
  const path = String(value)
  if (/^[\w.-]+\/[\w.-]+$/.test(path) && !/^[./]/.test(path)) {
    put(draft, "data.train", [{ path }])
    return `a folder or a hub id; taken for a hub id. As a folder it is ${path}/train.jsonl`
  }
  const inside = path.replace(/\/+$/, "")
  put(draft, "data.train", [{ path: `${inside}/train.jsonl` }])
  put(draft, "data.eval", [{ path: `${inside}/valid.jsonl` }])
  return undefined
}

/** `scale` multiplies the update itself: alpha / r here. */
const loraParameters: Rule = (value, draft) => {
  const { rank, scale, dropout, keys, ...more } = (value ?? {}) as Record<string, unknown>
  const r = typeof rank === "number" ? rank : 8
  draft.lora.r = r
  draft.lora.lora_alpha = r * (typeof scale === "number" ? scale : 20)
  if (typeof dropout === "number") draft.lora.lora_dropout = dropout
  if (Array.isArray(keys))
    draft.lora.target_modules = keys.map((key) => String(key).split(".").at(-1)!)
  const lost = Object.keys(more)
  return lost.length === 0 ? undefined : `left out: ${lost.join(", ")}`
}

const schedule: Rule = (value, draft) => {
  const { name, warmup } = (value ?? {}) as Record<string, unknown>
  put(draft, "lr_scheduler", name === "linear_schedule" ? "linear" : "cosine")
  if (typeof warmup === "number" && warmup > 0) draft.warmupSteps = warmup
  return `${String(name)}: its own end and length are not taken; the learning rate falls to 0 over the run`
}

/** The YAML of `mlx_lm.lora -c`. */
export const mlx: Peer = {
  name: "mlx-lm",
  owns: (keys, names) =>
    names.some((name) => /mlx_lm/.test(name)) ||
    (keys.has("model") &&
      ["iters", "fine_tune_type", "lora_parameters", "lora_layers"].some((key) => keys.has(key))),
  refuses: ({ settings }) => {
    const mode = settings.train_mode
    return mode === undefined || mode === "sft"
      ? undefined
      : `train_mode "${String(mode)}" has no counterpart here`
  },
  defaults: {
    data: "data",
    batch_size: 4,
    iters: 1000,
    learning_rate: 1e-5,
    max_seq_length: 2048,
    mask_prompt: false,
    steps_per_eval: 200,
    save_every: 100,
    seed: 0,
    fine_tune_type: "lora",
    lora_parameters: {},
    num_layers: 16,
    weight_decay: 0,
    adam_beta2: 0.999,
    max_grad_norm: 0,
    warmup_ratio: 0,
    lr_scheduler_type: "constant",
  },
  rules: {
    ...TRAINING_ARGUMENTS,
    model: to("model"),
    data: folder,
    train: nothing,
    test: missing("ask dftune eval --data for it"),
    fine_tune_type: (value, draft) => {
      draft.useLora = value === "lora" || value === "dora"
      if (value === "dora") draft.lora.use_dora = true
    },
    lora_parameters: loraParameters,
    num_layers: (value) =>
      value === -1
        ? undefined
        : `only the last ${String(value)} layers have an adapter there, all of them here`,
    lora_layers: (value) =>
      value === -1
        ? undefined
        : `only the last ${String(value)} layers have an adapter there, all of them here`,
    batch_size: to("batch_size"),
    iters: to("max_steps"),
    max_seq_length: to("data.max_length"),
    // the loss is over the whole text unless the prompt is masked
    mask_prompt: (value, draft) => {
      put(draft, "data.supervise", value === true ? "completions" : "all")
    },
    steps_per_eval: to("eval_steps"),
    save_every: to("save_steps"),
    adapter_path: to("output_dir"),
    lr_schedule: schedule,
    grad_checkpoint: (value, draft) => {
      put(draft, "recompute", value === true ? "always" : "auto")
    },
    grad_accumulation_steps: (value, draft) => {
      const rows = Number(draft.config.batch_size) * Number(value)
      if (Number.isInteger(rows) && rows > 0) put(draft, "batch_size", rows)
    },
    optimizer,
    optimizer_config: missing("set adam_beta1, adam_beta2, adam_epsilon and weight_decay"),
    resume_adapter_file: missing("checkpoints of other trainers cannot be continued"),
    val_batches: nothing,
    test_batches: nothing,
    steps_per_report: nothing,
    report_to: nothing,
    wandb: nothing,
    project_name: nothing,
  },
  complete: ({ notes }, keys) => {
    if (keys.has("num_layers") || keys.has("lora_layers")) return
    const text = "left out: adapters on the last 16 layers there, on all of them here"
    notes.push({ key: "num_layers", value: undefined, text })
  },
}
