import {
  loraTargets,
  missing,
  objectiveFlag,
  type Peer,
  put,
  TRAINING_ARGUMENTS,
  TRAINING_ARGUMENTS_DEFAULTS,
  to,
  toLora,
  toSources,
  useLora,
} from "./draft.ts"

export const swift: Peer = {
  name: "ms-swift",
  owns: (keys, names) =>
    names.includes("swift") ||
    keys.has("enable_dft_loss") ||
    keys.has("train_type") ||
    keys.has("tuner_type"),
  defaults: {
    ...TRAINING_ARGUMENTS_DEFAULTS,
    learning_rate: 1e-4,
    per_device_train_batch_size: 1,
    lr_scheduler_type: "cosine",
    warmup_ratio: 0.05,
    weight_decay: 0.1,
    adam_beta2: 0.95,
    tuner_type: "lora",
    lora_rank: 8,
    lora_alpha: 32,
    lora_dropout: 0.05,
    packing: false,
  },
  rules: {
    ...TRAINING_ARGUMENTS,
    model: to("model"),
    dataset: (value, draft) => {
      // `id:subset#1000` names a subset and a number of rows.
      const entries = (Array.isArray(value) ? value : [value]).map((text) => {
        const [, path = String(text), , rows] =
          /^([^:#]+)(:[^#]*)?(?:#(\d+))?$/.exec(String(text)) ?? []
        return { path, ...(rows === undefined ? {} : { max_rows: Number(rows) }) }
      })
      put(draft, "data.train", entries)
    },
    val_dataset: toSources("eval"),
    split_dataset_ratio: missing("evaluation rows are given in data.eval"),
    train_type: useLora((value) => value === "lora"),
    tuner_type: useLora((value) => value === "lora"),
    max_length: to("data.max_length"),
    packing: to("data.packing"),
    enable_dft_loss: objectiveFlag("dft"),
    loss_scale: missing("weights by text are not offered; the objective weighs tokens"),
    lora_rank: toLora("r"),
    lora_alpha: toLora("lora_alpha"),
    lora_dropout: toLora("lora_dropout"),
    target_modules: loraTargets,
    use_rslora: toLora("use_rslora"),
    quant_bits: (value, draft) => {
      if (value === 4 || value === 8) put(draft, "quantization", `int${value}`)
    },
    system: missing("put the system message into the rows"),
    template: missing("chats go through the model's own template"),
  },
}
