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
  put,
  putColumn,
  putSources,
  type Rule,
  to,
  toLora,
} from "./draft.ts"
import {
  earlierAdapter,
  layers,
  loraStart,
  loraTargets,
  modulesToSave,
  PEFT,
  quantization,
} from "./lora-rules.ts"
import type { Source } from "./source.ts"
import { scheduler, TRAINING_ARGUMENTS, TRAINING_ARGUMENTS_DEFAULTS } from "./training-arguments.ts"

type Entry = Readonly<Record<string, unknown>>

/** Kinds of files that `datasets.load_dataset` reads; a path of that name is none. */
const FILE_KINDS = /^(?:json|jsonl|csv|parquet|text|arrow)$/

const FORMATS: Readonly<Record<string, string>> = {
  chat_template: "auto",
  alpaca: "alpaca",
  sharegpt: "sharegpt",
  completion: "text",
}

/**
 * The files of an entry, one source each; what of it is said elsewhere or not at all goes to
 * `lost`.
 */
function sourcesOf(entry: Entry, draft: Draft, lost: Set<string>): DataSource[] {
  const { path, data_files, split, name, ds_type, ...more } = entry
  const files = data_files === undefined ? [] : [data_files].flat().map(String)
  const given = typeof path === "string" ? path : undefined
  const shared = {
    ...(typeof name === "string" ? { name } : {}),
    ...(typeof split === "string" ? { split } : {}),
  }
  rowKeys(more, draft, lost)
  if (files.length === 0) {
    if (given === undefined) lost.add("an entry without a path")
    return given === undefined ? [] : [{ path: given, ...shared }]
  }
  const folder = given === undefined || FILE_KINDS.test(given) ? "" : given
  const isLocal = folder === "" || /^[./~]/.test(folder)
  if (!isLocal && ds_type === undefined) {
    lost.add(`files of the hub data set ${folder}: download them, and give their paths here`)
  }
  if (!isLocal || folder === "") return files.map((file) => ({ path: file, ...shared }))
  return files.map((file) => ({ path: /^[/~]/.test(file) ? file : `${folder}/${file}`, ...shared }))
}

/** How axolotl names the rows' columns. */
const COLUMNS: Readonly<Record<string, readonly [column: string, usual: string]>> = {
  field_messages: ["messages", "messages"],
  field_instruction: ["prompt", "instruction"],
  field_output: ["completion", "output"],
  field_system: ["system", "system"],
  field_tools: ["tools", "tools"],
  field: ["text", "text"],
}

function rowKeys(keys: Entry, draft: Draft, lost: Set<string>): void {
  for (const [key, value] of Object.entries(keys)) {
    if (key === "type" && typeof value === "object" && value !== null) {
      rowKeys(value as Entry, draft, lost)
    } else if (key === "type" || key === "conversation") {
      const format = Object.hasOwn(FORMATS, String(value)) ? FORMATS[String(value)] : undefined
      if (format === undefined) lost.add(`${key}: ${String(value)}`)
      else put(draft, "data.format", format)
    } else if (Object.hasOwn(COLUMNS, key)) {
      const [column, usual] = COLUMNS[key]!
      if (key === "field_messages" && value === "conversations") continue // known by itself
      putColumn(draft, column, value, usual)
    } else if (key === "message_property_mappings" && isPlain(value, ["from", "value"])) {
    } else if (key === "message_property_mappings" && isPlain(value, ["role", "content"])) {
    } else if (!IDLE.has(key)) lost.add(`${key}: ${JSON.stringify(value)}`)
  }
}

const IDLE: ReadonlySet<string> = new Set(["trust_remote_code"])

const isPlain = (value: unknown, [role, content]: readonly [string, string]): boolean =>
  JSON.stringify(value) === JSON.stringify({ role, content }) ||
  JSON.stringify(value) === JSON.stringify({ content, role })

const axolotlDatasets =
  (set: "train" | "eval"): Rule =>
  (value, draft) => {
    const lost = new Set<string>()
    const entries = [value]
      .flat()
      .map((entry) => (typeof entry === "string" ? { path: entry } : entry))
    const kept = set === "train" ? draft : { ...draft, config: {}, notes: [] }
    putSources(
      draft,
      set,
      entries.flatMap((entry) => sourcesOf((entry ?? {}) as Entry, kept, lost)),
    )
    const formats = new Set(
      entries.map((entry) => (entry as Entry)?.type).map((type) => JSON.stringify(type)),
    )
    if (set === "train" && formats.size > 1) {
      put(draft, "data.format", "auto")
      if ((draft.config.data as Record<string, unknown>).columns !== undefined) {
        lost.add("columns are named once for all sources here: check data.columns")
      }
    }
    return lost.size === 0
      ? undefined
      : `rows are recognised by their keys and data.columns; left out: ${[...lost].join(", ")}`
  }

/** Texts to continue pretraining on: every token is trained. */
const pretraining: Rule = (value, draft, key) => {
  const entries = [value]
    .flat()
    .map((entry) => (typeof entry === "string" ? { path: entry } : entry)) as Entry[]
  const plain = entries.map(({ text_column, type: _, ...entry }) => {
    putColumn(draft, "text", text_column, "text")
    return entry
  })
  const noted = axolotlDatasets("train")(plain, draft, key)
  put(draft, "data.format", "text")
  put(draft, "data.supervise", "all")
  return noted ?? "plain texts, every token trained; they are read whole, not streamed"
}

function refuses({ settings, names }: Source): string | undefined {
  const at = names.indexOf("axolotl")
  const verb = at < 0 ? undefined : names[at + 1]
  if (
    verb !== undefined &&
    /^(?:inference|merge-lora|evaluate|quantize|vllm-serve|lm-eval|fetch)$/.test(verb)
  ) {
    return `"${verb}" is not training, so there is nothing to import`
  }
  const rl = settings.rl
  if (rl !== undefined && rl !== null && ONLINE.test(String(rl))) return onlineReason(String(rl))
  if (rl !== undefined && rl !== null && !Object.hasOwn(PREFERENCE, String(rl))) {
    return `rl: ${String(rl)} has no counterpart here`
  }
  for (const key of [
    "process_reward_model",
    "ebft",
    "diffusion",
    "kd_trainer",
    "sequence_classification",
  ]) {
    const value = settings[key]
    if (value !== undefined && value !== null && value !== false) {
      return `${key} is another training than that of the next token, and has no counterpart here`
    }
  }
  const adapter = settings.adapter
  if (typeof adapter === "string" && adapter !== "" && !/^q?lora$/.test(adapter)) {
    return `adapter: ${adapter}: only lora and qlora are offered`
  }
  return undefined
}

export const axolotl: Peer = {
  name: "axolotl",
  owns: (keys, names) =>
    names.includes("axolotl") ||
    (keys.has("base_model") &&
      ["datasets", "sequence_len", "pretraining_dataset", "micro_batch_size", "rl"].some((key) =>
        keys.has(key),
      )),
  refuses,
  defaults: {
    ...TRAINING_ARGUMENTS_DEFAULTS,
    num_epochs: 1,
    micro_batch_size: 1,
    lr_scheduler: "cosine",
    sequence_len: 512,
    sample_packing: false,
  },
  rules: {
    ...TRAINING_ARGUMENTS,
    base_model: to("model"),
    revision_of_model: to("model_revision"),
    datasets: axolotlDatasets("train"),
    test_datasets: axolotlDatasets("eval"),
    pretraining_dataset: pretraining,
    rl: (value, draft) => {
      if (value !== null) draft.objective.name = PREFERENCE[String(value)]
    },
    reward_model: objectiveFlag("reward"),
    center_rewards_coefficient: objectiveParameter("reward", "center_rewards_coefficient"),
    rl_beta: (value, draft, key) =>
      objectiveParameter(String(draft.objective.name), "beta")(value, draft, key),
    sequence_len: to("data.max_length"),
    sample_packing: to("data.packing"),
    pad_to_sequence_len: nothing,
    eval_sample_packing: nothing,
    micro_batch_size: TRAINING_ARGUMENTS.per_device_train_batch_size!,
    num_epochs: to("num_train_epochs"),
    optimizer: TRAINING_ARGUMENTS.optim!,
    lr_scheduler: scheduler,
    train_on_inputs: (value, draft) => {
      if (value === true) put(draft, "data.supervise", "all")
    },
    val_set_size: missing("evaluation rows are given in data.eval"),
    chat_template: missing(
      "chats go through the model's own template; a .jinja file in data.template replaces it",
    ),
    adapter: (value, draft) => {
      draft.useLora = value === "lora" || value === "qlora"
      if (value === "qlora") put(draft, "quantization", "int4")
    },
    lora_r: toLora("r"),
    lora_alpha: toLora("lora_alpha"),
    lora_dropout: toLora("lora_dropout"),
    lora_target_modules: loraTargets,
    lora_target_linear: (value, draft) => {
      if (value === true) draft.lora.target_modules = "all-linear"
    },
    lora_modules_to_save: modulesToSave,
    lora_exclude_modules: PEFT.exclude_modules!,
    lora_layers_to_transform: layers,
    peft_layers_to_transform: layers,
    lora_model_dir: earlierAdapter,
    peft_use_rslora: PEFT.use_rslora!,
    peft_use_dora: PEFT.use_dora!,
    peft_init_lora_weights: loraStart,
    loraplus_lr_ratio: PEFT.loraplus_lr_ratio!,
    loraplus_lr_embedding: nothing,
    load_in_4bit: quantization(4),
    load_in_8bit: quantization(8),
    liger_use_token_scaling: objectiveFlag("dft"),
    use_dft: objectiveFlag("dft"),
    enable_dft_loss: objectiveFlag("dft"),
    use_dynamic_finetuning: objectiveFlag("dft"),
    use_eaft: (value, draft, key) => {
      const noted = objectiveFlag("eaft")(value, draft, key)
      return value === true && noted === undefined
        ? "axolotl leaves out the division by ln K, so its loss is about three times this one"
        : (noted as string | undefined)
    },
    eaft_alpha: objectiveParameter("eaft", "alpha"),
    eaft_k: (value) => (value === 20 ? undefined : "K is 20, as in the paper"),
    gradient_checkpointing: (value, draft) => {
      const on = value === true || value === "offload" || value === "offload_disk"
      put(draft, "recompute", on ? "always" : "auto")
      return on && value !== true ? "what is kept is not moved to the disk here" : undefined
    },
    plugins: missing("no plugins are needed"),
    saves_per_epoch: missing("counts in steps here: set save_steps"),
    evals_per_epoch: missing("counts in steps here: set eval_steps"),
    special_tokens: missing("special tokens are the tokenizer's own"),
    ...Object.fromEntries(
      [
        ..."liger_rope liger_rms_norm liger_glu_activation liger_layer_norm".split(" "),
        ..."liger_fused_linear_cross_entropy flash_attention xformers_attention strict".split(" "),
        ..."wandb_project wandb_entity wandb_name wandb_run_id wandb_watch wandb_log_model".split(
          " ",
        ),
        ..."dataset_prepared_path model_type tokenizer_type is_llama_derived_model debug".split(
          " ",
        ),
      ].map((key) => [key, nothing]),
    ),
  },
}
