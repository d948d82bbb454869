import {
  type DataSource,
  type Draft,
  missing,
  nothing,
  ONLINE,
  objectiveParameter,
  onlineReason,
  type Peer,
  PREFERENCE,
  pairLoss,
  put,
  putSources,
  type Rule,
  type Rules,
  to,
  toLora,
  toSourceField,
  toSources,
  useLora,
} from "./draft.ts"
import { loraTargets, modulesToSave, PEFT, quantization } from "./lora-rules.ts"
import { baseName } from "./shell-source.ts"
import type { Source } from "./source.ts"
import { TRAINING_ARGUMENTS, TRAINING_ARGUMENTS_DEFAULTS, template } from "./training-arguments.ts"

/**
 * Configs of TRL's trainers that are not SFT's: `DPOConfig`, `trl dpo`, `examples/scripts/dpo.py`.
 */
function otherObjective({ names, settings }: Source): string | undefined {
  const classes = names.map((name) => /^([A-Z][A-Za-z]*)(?:Config|Trainer)$/.exec(name)?.[1])
  if (classes.includes("SFT")) return undefined
  const other = classes.find((name) => name && !/^(?:Model|Lora|BitsAndBytes)$/.test(name))
  if (other !== undefined) return other.toLowerCase()
  const at = names.findIndex((name) => baseName(name) === "trl")
  if (at >= 0 && names[at + 1] !== "sft") return names[at + 1]
  const script = names.map((name) => /trl\/scripts\/(\w+)\.py$/.exec(name)?.[1]).find(Boolean)
  if (script !== undefined && script !== "sft") return script
  return ["num_generations", "reward_funcs"].some((key) => key in settings) ? "grpo" : undefined
}

function refuses(source: Source): string | undefined {
  const other = otherObjective(source)
  if (other === undefined || Object.hasOwn(PREFERENCE, other)) return undefined
  if (ONLINE.test(other)) return onlineReason(other)
  return /^(?:env|vllm_serve|vllm-serve)$/.test(other)
    ? `"${other}" is not training, so there is nothing to import`
    : `"${other}" trains something else than the next token, and has no counterpart here`
}

/** `dataset_mixture: { datasets: [{ path, name, split, columns }] }`. */
const mixture: Rule = (value, draft) => {
  const { datasets, ...more } = (value ?? {}) as Record<string, unknown>
  const lost = Object.keys(more)
  const sources = (Array.isArray(datasets) ? datasets : []).map((entry): DataSource => {
    const { path, name, split, columns: _, data_files, ...rest } = entry as Record<string, unknown>
    lost.push(...Object.keys(rest))
    if (data_files !== undefined) lost.push("data_files")
    return {
      path: String(path),
      ...(typeof name === "string" ? { name } : {}),
      ...(typeof split === "string" ? { split } : {}),
    }
  })
  putSources(draft, "train", sources)
  return lost.length === 0 ? undefined : `left out: ${[...new Set(lost)].join(", ")}`
}

const FILE_KINDS = /^(?:json|jsonl|csv|parquet|text|arrow)$/

/** `load_dataset("json", data_files="rows.jsonl")`: the files, of their kind. */
const dataFiles: Rule = (value, draft) => {
  const files = isByName(value)
    ? ((value as Record<string, unknown>).train ?? Object.values(value as object)[0])
    : value
  const train = (draft.config.data as { train?: Record<string, unknown>[] } | undefined)?.train
  const path = train?.[0]?.path
  if (path !== undefined && !FILE_KINDS.test(String(path))) {
    const sources = [files].flat().map((file) => ({ path: String(file) }))
    put(draft, "data.train", sources)
    return `files of the hub data set ${String(path)}: download them, and give their paths here`
  }
  const sourcesOf = (paths: unknown) => [paths].flat().map((file) => ({ path: String(file) }))
  put(draft, "data.train", sourcesOf(files))
  const { test, validation, ...others } = Object(value) as Record<string, unknown>
  const held = isByName(value) ? (validation ?? test) : undefined
  if (held !== undefined && held !== files) put(draft, "data.eval", sourcesOf(held))
  const unread = isByName(value)
    ? Object.entries({ ...others, ...(validation === undefined ? {} : { test }) })
        .filter(([, paths]) => paths !== undefined && paths !== files)
        .map(([name]) => name)
    : []
  return unread.length === 0 ? undefined : `left out: the files of ${unread.join(", ")}`
}

/** `{"train": ..., "test": ...}` */
const isByName = (value: unknown): boolean =>
  typeof value === "object" && value !== null && !Array.isArray(value)

/** A split of files says nothing: theirs is all `train`. */
const split: Rule = (value, draft, key) => {
  const train = (draft.config.data as { train?: { path: string }[] } | undefined)?.train
  if (train?.some(({ path }) => /\.(?:jsonl?|csv|parquet|txt)(?:\.\w+)?$/.test(path)))
    return undefined
  return toSourceField("train", "split")(value, draft, key)
}

const under = (prefix: string, rules: Rules): Rules =>
  Object.fromEntries(Object.entries(rules).map(([key, rule]) => [prefix + key, rule]))

const isUnsloth = (keys: Iterable<string>): boolean =>
  [...keys].some((key) => /^(?:unsloth|peft)\./.test(key))

/** Of its trainers; of those that are not here 1e-6. */
const LEARNING_RATE: Readonly<Record<string, number>> = { sft: 2e-5, reward: 1e-4 }

export const trl: Peer = {
  name: "TRL",
  owns: (keys, names) =>
    names.some((name) =>
      /^(?:SFT|DPO|KTO|ORPO|CPO|GRPO|RLOO|PPO|PRM|Reward)(?:Config|Trainer)$/.test(name),
    ) ||
    names.some((name) => baseName(name) === "trl" || /trl\/scripts\//.test(name)) ||
    isUnsloth(keys) ||
    keys.has("assistant_only_loss") ||
    keys.has("completion_only_loss") ||
    keys.has("dataset_mixture") ||
    (keys.has("model_name_or_path") && (keys.has("dataset_name") || keys.has("loss_type"))),
  refuses,
  prepare: (source) => {
    const other = otherObjective(source)
    if (other === undefined) return source
    return { ...source, settings: { ...source.settings, "trl.objective": other } }
  },
  defaults: ({ settings }) => ({
    ...TRAINING_ARGUMENTS_DEFAULTS,
    learning_rate: LEARNING_RATE[String(settings["trl.objective"] ?? "sft")] ?? 1e-6,
    max_length: 1024,
    packing: false,
    // Unsloth's from_pretrained quantises unless told not to
    ...(isUnsloth(Object.keys(settings))
      ? { learning_rate: 5e-5, "unsloth.load_in_4bit": true }
      : {}),
  }),
  rules: {
    ...TRAINING_ARGUMENTS,
    "trl.objective": (value, draft) => {
      draft.objective.name = PREFERENCE[String(value)]
    },
    model_name_or_path: to("model"),
    beta: (value, draft, key) =>
      objectiveParameter(String(draft.objective.name), "beta")(value, draft, key),
    center_rewards_coefficient: objectiveParameter("reward", "center_rewards_coefficient"),
    dataset_name: toSources("train"),
    dataset_config: toSourceField("train", "name"),
    dataset_train_split: toSourceField("train", "split"),
    dataset_test_split: missing("evaluation rows are given in data.eval"),
    dataset_mixture: mixture,
    dataset_text_field: (value, draft) => {
      if (typeof value === "string" && value !== "text") put(draft, "data.columns.text", value)
    },
    loss_type: (value, draft) => {
      if (draft.objective.name === "dpo") return pairLoss(value, draft)
      if (value === "dft") draft.objective.name = "dft"
      else if (value !== "nll" && value !== "chunked_nll" && value !== null) {
        return "not a loss of SFT known here; the objective is left as it is"
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
    lora_modules_to_save: modulesToSave,
    lora_task_type: nothing,
    use_rslora: PEFT.use_rslora!,
    use_dora: PEFT.use_dora!,
    ...under("lora_config.", PEFT),
    load_in_4bit: quantization(4),
    load_in_8bit: quantization(8),
    "quantize.load_in_4bit": quantization(4),
    "quantize.load_in_8bit": quantization(8),
    ...under("quantize.", {
      bnb_4bit_quant_type: nothing,
      bnb_4bit_use_double_quant: nothing,
      bnb_4bit_quant_storage: nothing,
    }),
    "responses_only.instruction_part": (_value, draft) => {
      put(draft, "data.supervise", "completions")
    },
    "responses_only.response_part": nothing,
    ...under("trainer.", {
      model: to("model"),
      max_seq_length: to("data.max_length"),
      packing: to("data.packing"),
      dataset_text_field: (value, draft) => {
        if (typeof value === "string" && value !== "text") put(draft, "data.columns.text", value)
      },
      dataset_num_proc: nothing,
    }),
    "load_dataset.path": toSources("train"),
    "load_dataset.name": toSourceField("train", "name"),
    "load_dataset.data_dir": missing("a folder of the data set: check that path names the rows"),
    "load_dataset.data_files": dataFiles,
    "load_dataset.split": split,
    "load_dataset.streaming": nothing,
    ...under("unsloth.", {
      model_name: to("model"),
      max_seq_length: to("data.max_length"),
      load_in_4bit: quantization(4),
      load_in_8bit: (value, draft, key) => quantization(8)(value, draft, key),
      full_finetuning: (value, draft) => {
        if (value === true) put(draft, "quantization", "none")
      },
      fast_inference: nothing,
      gpu_memory_utilization: nothing,
      max_lora_rank: nothing,
    }),
    ...under("peft.", {
      ...PEFT,
      use_gradient_checkpointing: (value: unknown, draft: Draft) => {
        put(draft, "recompute", value === false ? "auto" : "always")
      },
      random_state: nothing,
      loftq_config: missing("the base is quantised here, in blocks, when it is loaded"),
      finetune_vision_layers: nothing,
      finetune_language_layers: nothing,
      finetune_attention_modules: nothing,
      finetune_mlp_modules: nothing,
    }),
  },
  complete: (draft, keys) => {
    const { lora, notes, useLora } = draft
    const masks = [
      ..."assistant_only_loss completion_only_loss trl.objective responses_only.instruction_part".split(
        " ",
      ),
    ]
    if (!masks.some((key) => keys.has(key))) {
      const text =
        "left out: of rows of messages TRL trains every token then, here the completions; data.supervise: all does the same"
      notes.push({ key: "assistant_only_loss", value: undefined, text })
    }
    const unsloth = [...keys].some((key) => key.startsWith("peft."))
    const direct = [...keys].some((key) => key.startsWith("lora_config."))
    if (unsloth) draft.useLora = true
    if (isUnsloth(keys) && !unsloth) put(draft, "quantization", "none")
    if (!draft.useLora && !useLora && !direct) return
    // PEFT's LoraConfig, TRL's ModelConfig and Unsloth have defaults of their own.
    const defaults = unsloth
      ? { r: 16, lora_alpha: 16, lora_dropout: 0 }
      : direct
        ? { r: 8, lora_alpha: 8, lora_dropout: 0 }
        : { r: 16, lora_alpha: 32, lora_dropout: 0.05 }
    for (const [key, value] of Object.entries(defaults)) lora[key] ??= value
    if (lora.target_modules !== undefined) return
    if (unsloth) lora.target_modules = "all-linear"
    else {
      lora.target_modules = ["q_proj", "v_proj"]
      const text = "PEFT's default for most families is written out: check it, or take all-linear"
      notes.push({ key: "lora_target_modules", value: undefined, text })
    }
  },
}

/** Unsloth's calls around TRL's trainer: `FastLanguageModel.from_pretrained`, `get_peft_model`. */
export const unsloth: Peer = { ...trl, name: "Unsloth", owns: (keys) => isUnsloth(keys) }
