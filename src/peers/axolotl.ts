import {
  loraTargets,
  missing,
  nothing,
  objectiveFlag,
  objectiveParameter,
  type Peer,
  put,
  quantization,
  type Rule,
  scheduler,
  TRAINING_ARGUMENTS,
  TRAINING_ARGUMENTS_DEFAULTS,
  to,
  toLora,
} from "./draft.ts"

const axolotlDatasets =
  (set: "train" | "eval"): Rule =>
  (value, draft) => {
    const entries = (Array.isArray(value) ? value : [value]) as Record<string, unknown>[]
    const lost = new Set<string>()
    const sources = entries.map((entry) => {
      const { path, data_files, split, name, type, ds_type, ...more } = entry ?? {}
      for (const key of Object.keys(more)) lost.add(key)
      const format = AXOLOTL_FORMATS[String(type)]
      if (format === undefined && type !== undefined) lost.add(`type: ${String(type)}`)
      else if (format !== undefined && set === "train") put(draft, "data.format", format)
      const files = Array.isArray(data_files) ? data_files[0] : data_files
      const local = ds_type !== undefined && files !== undefined
      return {
        path: String(local ? files : path),
        ...(name === undefined ? {} : { name }),
        ...(split === undefined ? {} : { split }),
      }
    })
    put(draft, `data.${set}`, sources)
    return lost.size === 0
      ? undefined
      : `rows are recognised by their keys; left out: ${[...lost].join(", ")}`
  }

const AXOLOTL_FORMATS: Readonly<Record<string, string>> = {
  chat_template: "auto",
  alpaca: "alpaca",
  sharegpt: "sharegpt",
  completion: "text",
}

export const axolotl: Peer = {
  name: "axolotl",
  owns: (keys, names) =>
    names.includes("axolotl") ||
    (keys.has("base_model") && (keys.has("datasets") || keys.has("sequence_len"))),
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
      return draft.useLora || value === null ? undefined : "only lora and qlora are offered"
    },
    lora_r: toLora("r"),
    lora_alpha: toLora("lora_alpha"),
    lora_dropout: toLora("lora_dropout"),
    lora_target_modules: loraTargets,
    lora_target_linear: (value, draft) => {
      if (value === true) draft.lora.target_modules = "all-linear"
    },
    peft_use_rslora: toLora("use_rslora"),
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
