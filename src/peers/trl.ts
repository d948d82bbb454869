import {
  loraTargets,
  missing,
  nothing,
  type Peer,
  put,
  quantization,
  TRAINING_ARGUMENTS,
  TRAINING_ARGUMENTS_DEFAULTS,
  template,
  to,
  toLora,
  toSourceField,
  toSources,
  useLora,
} from "./draft.ts"

export const trl: Peer = {
  name: "TRL",
  owns: (keys, names) =>
    names.some((name) => /SFTConfig|^trl$/.test(name)) ||
    keys.has("assistant_only_loss") ||
    keys.has("completion_only_loss") ||
    (keys.has("model_name_or_path") && (keys.has("dataset_name") || keys.has("loss_type"))),
  defaults: {
    ...TRAINING_ARGUMENTS_DEFAULTS,
    learning_rate: 2e-5,
    max_length: 1024,
    packing: false,
  },
  rules: {
    ...TRAINING_ARGUMENTS,
    model_name_or_path: to("model"),
    dataset_name: toSources("train"),
    dataset_config: toSourceField("train", "name"),
    dataset_train_split: toSourceField("train", "split"),
    dataset_test_split: missing("evaluation rows are given in data.eval"),
    dataset_text_field: (value) =>
      value === "text" ? undefined : "plain text is read from the key text: rename the column",
    loss_type: (value, draft) => {
      if (value === "dft") draft.objective.name = "dft"
      else if (value !== "nll" && value !== "chunked_nll" && value !== null) {
        return "not a loss of SFT known here; the objective is left at sft"
      }
      return undefined
    },
    max_length: to("data.max_length"),
    max_seq_length: to("data.max_length"),
    packing: to("data.packing"),
    packing_strategy: missing("rows are packed best fit, and never see each other"),
    padding_free: nothing,
    pad_token: nothing,
    eos_token: missing("the end token is the tokenizer's own"),
    chat_template_path: template,
    completion_only_loss: (value, draft) => {
      if (value === false) put(draft, "data.supervise", "all")
    },
    assistant_only_loss: (value, draft) => {
      if (value === true) put(draft, "data.supervise", "completions")
    },
    use_peft: useLora((value) => value === true),
    lora_r: toLora("r"),
    lora_alpha: toLora("lora_alpha"),
    lora_dropout: toLora("lora_dropout"),
    lora_target_modules: loraTargets,
    use_rslora: toLora("use_rslora"),
    use_dora: missing("DoRA is not offered"),
    "lora_config.r": toLora("r"),
    "lora_config.lora_alpha": toLora("lora_alpha"),
    "lora_config.lora_dropout": toLora("lora_dropout"),
    "lora_config.target_modules": loraTargets,
    "lora_config.use_rslora": toLora("use_rslora"),
    "lora_config.bias": missing("biases stay frozen"),
    "lora_config.task_type": nothing,
    load_in_4bit: quantization(4),
    load_in_8bit: quantization(8),
    "SFTTrainer.model": to("model"),
    "load_dataset.path": toSources("train"),
    "load_dataset.name": toSourceField("train", "name"),
    "load_dataset.split": toSourceField("train", "split"),
  },
  complete: ({ lora, notes, useLora }, keys) => {
    const direct = [...keys].some((key) => key.startsWith("lora_config."))
    if (!useLora && !direct) return
    // PEFT's LoraConfig and TRL's ModelConfig have defaults of their own.
    const defaults = direct
      ? { r: 8, lora_alpha: 8, lora_dropout: 0 }
      : { r: 16, lora_alpha: 32, lora_dropout: 0.05 }
    for (const [key, value] of Object.entries(defaults)) lora[key] ??= value
    if (lora.target_modules !== undefined) return
    lora.target_modules = ["q_proj", "v_proj"]
    const text = "PEFT's default for most families is written out: check it, or take all-linear"
    notes.push({ key: "lora_target_modules", value: undefined, text })
  },
}
