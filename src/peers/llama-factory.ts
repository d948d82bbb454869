import {
  loraTargets,
  missing,
  nothing,
  objectiveFlag,
  objectiveParameter,
  type Peer,
  put,
  TRAINING_ARGUMENTS,
  TRAINING_ARGUMENTS_DEFAULTS,
  to,
  toLora,
  toSourceField,
  toSources,
} from "./draft.ts"

export const llamaFactory: Peer = {
  name: "LLaMA-Factory",
  owns: (keys, names) =>
    names.includes("llamafactory-cli") ||
    ["finetuning_type", "cutoff_len", "use_dft_loss", "use_asft_loss", "use_eaft_loss"].some(
      (key) => keys.has(key),
    ),
  defaults: {
    ...TRAINING_ARGUMENTS_DEFAULTS,
    cutoff_len: 2048,
    finetuning_type: "lora",
    lora_rank: 8,
    packing: false,
  },
  rules: {
    ...TRAINING_ARGUMENTS,
    model_name_or_path: to("model"),
    stage: (value, draft) => {
      if (value === "dpo") draft.objective.name = "dpo"
      else if (value === "pt") put(draft, "data.supervise", "all")
      else if (value !== "sft") return "only the stages sft, pt and dpo have a counterpart"
      return undefined
    },
    finetuning_type: (value, draft) => {
      draft.useLora = value === "lora"
      return value === "lora" || value === "full" ? undefined : "only full and lora are offered"
    },
    dataset: (value, draft) => {
      const names = String(value)
        .split(",")
        .map((name) => name.trim())
      toSources("train")(
        names.map((name) => `data/${name}.json`),
        draft,
        "dataset",
      )
      return "a name in dataset_info.json: check that the path written here is its file"
    },
    eval_dataset: (value, draft) => {
      const names = String(value)
        .split(",")
        .map((name) => name.trim())
      toSources("eval")(
        names.map((name) => `data/${name}.json`),
        draft,
        "eval_dataset",
      )
      return "a name in dataset_info.json: check that the path written here is its file"
    },
    dataset_dir: missing("paths are written out in data.train"),
    template: missing(
      "chats go through the model's own template; a .jinja file in data.template replaces it",
    ),
    cutoff_len: to("data.max_length"),
    max_samples: toSourceField("train", "max_rows"),
    packing: to("data.packing"),
    neat_packing: (value, draft) => {
      if (value === true) put(draft, "data.packing", true)
    },
    train_on_prompt: (value, draft) => {
      if (value === true) put(draft, "data.supervise", "all")
    },
    mask_history: (value, draft) => {
      if (value === true) put(draft, "data.supervise", "last")
    },
    val_size: missing("evaluation rows are given in data.eval"),
    use_dft_loss: objectiveFlag("dft"),
    use_asft_loss: objectiveFlag("asft"),
    use_eaft_loss: objectiveFlag("eaft"),
    asft_alpha: objectiveParameter("asft", "lambda"),
    eaft_alpha: objectiveParameter("eaft", "alpha"),
    pref_beta: objectiveParameter("dpo", "beta"),
    pref_loss: (value) => (value === "sigmoid" ? undefined : "only DPO's sigmoid loss is offered"),
    ref_model: missing("the reference is the frozen model itself"),
    lora_rank: toLora("r"),
    lora_alpha: toLora("lora_alpha"),
    lora_dropout: toLora("lora_dropout"),
    lora_target: loraTargets,
    use_rslora: toLora("use_rslora"),
    use_dora: missing("DoRA is not offered"),
    quantization_bit: (value, draft) => {
      if (value === 4 || value === 8) put(draft, "quantization", `int${value}`)
    },
    quantization_method: missing("the base is quantised here, in blocks, when it is loaded"),
    enable_liger_kernel: nothing,
    enable_thinking: missing("the template's own default is used"),
  },
  complete: ({ lora }) => {
    // Its alpha is twice the rank when left out.
    lora.lora_alpha ??= 2 * Number(lora.r)
  },
}
