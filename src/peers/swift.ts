import {
  type DataSource,
  type Draft,
  missing,
  nothing,
  ONLINE,
  objectiveFlag,
  objectiveParameter,
  onlineReason,
  type Peer,
  PREFERENCE,
  pairLoss,
  put,
  putSources,
  type Rule,
  to,
  toLora,
  useLora,
} from "./draft.ts"
import { earlierAdapter, loraStart, loraTargets, modulesToSave, PEFT } from "./lora-rules.ts"
import { baseName } from "./shell-source.ts"
import type { Source } from "./source.ts"
import {
  optimizer,
  routerLoss,
  TRAINING_ARGUMENTS,
  TRAINING_ARGUMENTS_DEFAULTS,
} from "./training-arguments.ts"

/** `[HF::|MS::]id-or-path[:subset/subset][#rows]` (its docs, "Custom-dataset"). */
const DATASET = /^(?:(HF|MS)::)?(.+?)(?::([^:#\\/]+(?:\/[^:#\\/]+)*))?(?:#(\d+))?$/i

function datasetSources(text: string): { sources: DataSource[]; fromModelScope: boolean } {
  const [, hub, path = text, subsets, rows] = DATASET.exec(text) ?? []
  const rowsOf = rows === undefined ? {} : { max_rows: Number(rows) }
  const isFile = /^[./~]|\.(?:jsonl?|csv|parquet|txt)$/i.test(path)
  const names = subsets?.split("/") ?? [undefined]
  const sources = names.map((name) => ({
    path,
    ...(name === undefined ? {} : { name }),
    ...rowsOf,
  }))
  return { sources, fromModelScope: !isFile && hub?.toUpperCase() !== "HF" }
}

const datasets =
  (set: "train" | "eval"): Rule =>
  (value, draft: Draft) => {
    const entries = (Array.isArray(value) ? value : [value]).map((text) =>
      datasetSources(String(text)),
    )
    putSources(
      draft,
      set,
      entries.flatMap(({ sources }) => sources),
    )
    return entries.some(({ fromModelScope }) => fromModelScope)
      ? "ids of ModelScope unless --use_hf was given: check that the Hugging Face hub has them"
      : undefined
  }

const CLI_FILE = /\bswift[./]cli[./]/

/** Its verbs: `swift sft`, `megatron rlhf`, or the files of `swift/cli`. */
function verbOf({ names }: Source): string | undefined {
  const at = names.findIndex((name) => /^(?:swift|megatron)$/.test(baseName(name)))
  if (at >= 0) return names[at + 1]
  const file = names.find((name) => CLI_FILE.test(name))
  return file === undefined
    ? undefined
    : baseName(file.replaceAll(/\.(?!py$)/g, "/"))
        .replace(/\.py$/, "")
        .replace(/^_megatron\//, "")
}

const TUNERS = /^(?:lora|full)$/

function refuses(source: Source): string | undefined {
  const verb = verbOf(source)
  const { settings } = source
  if (verb !== undefined && !/^(?:sft|pt|rlhf)$/.test(verb)) {
    return `"${verb}" is not training, so there is nothing to import`
  }
  const kind = settings.rlhf_type ?? (verb === "rlhf" ? "dpo" : undefined)
  if (kind !== undefined && ONLINE.test(String(kind))) return onlineReason(String(kind))
  if (kind !== undefined && !Object.hasOwn(PREFERENCE, String(kind))) {
    return `rlhf_type "${String(kind)}" has no counterpart here`
  }
  const task = settings.task_type
  if (task !== undefined && task !== "causal_lm") {
    return `task_type "${String(task)}" trains another head than the language model's`
  }
  const tuner = settings.tuner_type ?? settings.train_type
  if (tuner !== undefined && !TUNERS.test(String(tuner))) {
    return `tuner_type "${String(tuner)}": only lora and full are offered`
  }
  return undefined
}

/** Megatron's names for the same. */
const MEGATRON: Readonly<Record<string, string>> = {
  lr: "learning_rate",
  global_batch_size: "global_batch_size",
  lr_warmup_fraction: "warmup_ratio",
  lr_warmup_iters: "warmup_steps",
  lr_decay_style: "lr_scheduler_type",
  max_epochs: "num_train_epochs",
  train_iters: "max_steps",
  save: "output_dir",
  save_interval: "save_steps",
  eval_interval: "eval_steps",
  clip_grad: "max_grad_norm",
  load: "model",
}

const isMegatron = ({ names }: Source): boolean => names.some((name) => /megatron/.test(name))

export const swift: Peer = {
  name: "ms-swift",
  owns: (keys, names) =>
    names.some((name) => /^(?:swift|megatron)$/.test(baseName(name)) || CLI_FILE.test(name)) ||
    keys.has("enable_dft_loss") ||
    keys.has("train_type") ||
    keys.has("tuner_type"),
  prepare: (source) => {
    if (!isMegatron(source)) return source
    const renamed = Object.entries(source.settings).map(([key, value]) => [
      Object.hasOwn(MEGATRON, key) && !(MEGATRON[key]! in source.settings && MEGATRON[key] !== key)
        ? MEGATRON[key]!
        : key,
      value,
    ])
    return { ...source, settings: Object.fromEntries(renamed) }
  },
  refuses,
  defaults: (source) => {
    const { settings, devices = 1 } = source
    const tuner =
      settings.tuner_type ?? settings.train_type ?? (isMegatron(source) ? "full" : "lora")
    const perDevice = Number(settings.per_device_train_batch_size ?? 1)
    return {
      ...TRAINING_ARGUMENTS_DEFAULTS,
      learning_rate: tuner === "full" ? 1e-5 : 1e-4,
      per_device_train_batch_size: 1,
      // it fills the batch up to 16
      gradient_accumulation_steps: Math.max(1, Math.ceil(16 / (perDevice * devices) || 1)),
      ...(isMegatron(source) ? { global_batch_size: 16, num_train_epochs: 1 } : {}),
      lr_scheduler_type: "cosine",
      warmup_ratio: 0.05,
      weight_decay: 0.1,
      adam_beta2: 0.95,
      tuner_type: tuner,
      lora_rank: 8,
      lora_alpha: 32,
      lora_dropout: 0.05,
      packing: false,
    }
  },
  rules: {
    ...TRAINING_ARGUMENTS,
    model: to("model"),
    model_id_or_path: to("model"),
    dataset: datasets("train"),
    val_dataset: datasets("eval"),
    use_hf: nothing,
    split_dataset_ratio: missing("evaluation rows are given in data.eval"),
    train_type: useLora((value) => value === "lora"),
    tuner_type: useLora((value) => value === "lora"),
    rlhf_type: (value, draft) => {
      draft.objective.name = PREFERENCE[String(value)]
    },
    loss_type: (value, draft) =>
      draft.objective.name === "dpo" ? pairLoss(value, draft) : "not known here",
    beta: (value, draft, key) =>
      objectiveParameter(String(draft.objective.name), "beta")(value, draft, key),
    center_rewards_coefficient: objectiveParameter("reward", "center_rewards_coefficient"),
    max_length: to("data.max_length"),
    packing: to("data.packing"),
    global_batch_size: to("batch_size"),
    micro_batch_size: nothing,
    enable_dft_loss: objectiveFlag("dft"),
    loss_scale: (value, draft) => {
      if (value === "all") put(draft, "data.supervise", "all")
      else if (value === "last_round") put(draft, "data.supervise", "last")
      else if (value !== "default")
        return "weights by text are not offered; the objective weighs tokens"
      return undefined
    },
    lora_rank: toLora("r"),
    lora_alpha: toLora("lora_alpha"),
    lora_dropout: toLora("lora_dropout"),
    target_modules: loraTargets,
    target_regex: toLora("target_modules"),
    modules_to_save: modulesToSave,
    use_rslora: PEFT.use_rslora!,
    use_dora: PEFT.use_dora!,
    init_weights: loraStart,
    lorap_lr_ratio: PEFT.loraplus_lr_ratio!,
    adapters: earlierAdapter,
    optimizer,
    early_stop_interval: to("early_stopping_patience"),
    aux_loss_coef: routerLoss,
    quant_bits: (value, draft) => {
      if (value === 4 || value === 8) put(draft, "quantization", `int${value}`)
    },
    quant_method: missing("the base is quantised here, in blocks, when it is loaded"),
    system: missing("put the system message into the rows"),
    template: missing("chats go through the model's own template"),
    finetune: nothing,
    ...Object.fromEntries(
      [
        ..."tensor_model_parallel_size pipeline_model_parallel_size context_parallel_size".split(
          " ",
        ),
        ..."expert_model_parallel_size sequence_parallel use_distributed_optimizer".split(" "),
        ..."recompute_granularity recompute_method recompute_num_layers no_save_optim no_save_rng".split(
          " ",
        ),
        ..."cross_entropy_loss_fusion attention_backend moe_permute_fusion moe_grouped_gemm".split(
          " ",
        ),
        ..."num_workers dataset_num_proc log_interval load_from_cache_file lazy_tokenize".split(
          " ",
        ),
        ..."add_version model_author model_name use_logits_to_keep attn_impl padding_free".split(
          " ",
        ),
        ..."use_precision_aware_optimizer optimizer_cpu_offload overlap_grad_reduce".split(" "),
        ..."load_safetensors save_safetensors no_load_optim no_load_rng eval_iters".split(" "),
      ].map((key) => [key, nothing]),
    ),
  },
  complete: ({ config, notes }, keys) => {
    if (keys.has("max_length")) return
    const text =
      "left out: ms-swift takes the model's own limit and drops longer rows; 2048 is set, longer rows are cut"
    put({ config } as Draft, "data.max_length", 2048)
    notes.push({ key: "max_length", value: undefined, text })
  },
}
