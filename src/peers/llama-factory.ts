import {
  missing,
  nothing,
  ONLINE,
  objectiveFlag,
  objectiveParameter,
  onlineReason,
  type Peer,
  PREFERENCE,
  put,
  type Rule,
  to,
  toLora,
  toSourceField,
  toSources,
} from "./draft.ts"
import { isVersionOne, versionOne } from "./llama-factory-v1.ts"
import { earlierAdapter, loraTargets, modulesToSave, PEFT } from "./lora-rules.ts"
import type { Source } from "./source.ts"
import {
  routerLoss,
  TRAINING_ARGUMENTS,
  TRAINING_ARGUMENTS_DEFAULTS,
} from "./training-arguments.ts"

/** Of the stages those that sample (`ppo`), and those that are unknown. */
function refuses({ settings, names }: Source): string | undefined {
  const at = names.findIndex((name) => /^llamafactory-cli$|^lmf$/.test(name))
  const verb = at < 0 ? undefined : names[at + 1]
  if (verb !== undefined && /^(?:chat|webchat|api|export|eval|webui|version|env)$/.test(verb)) {
    return `"${verb}" is not training, so there is nothing to import`
  }
  if (settings.export_dir !== undefined)
    return "a config of llamafactory-cli export, not of training"
  const trains = ["do_train", "dataset", "stage", "learning_rate"].some((key) => key in settings)
  if (!trains && settings.model_name_or_path !== undefined) {
    return "a config of inference (no stage, dataset or learning rate), not of training"
  }
  const stage = String(settings.stage ?? "sft")
  if (ONLINE.test(stage)) return onlineReason(stage)
  if (!/^(?:sft|pt)$/.test(stage) && !Object.hasOwn(PREFERENCE, stage)) {
    return `stage "${stage}" has no counterpart here`
  }
  const tuning = settings.finetuning_type
  if (tuning !== undefined && tuning !== "lora" && tuning !== "full") {
    return `finetuning_type "${String(tuning)}": only full and lora are offered`
  }
  return undefined
}

/** Names of dataset_info.json; a path or a file is itself. */
const namedDatasets =
  (set: "train" | "eval"): Rule =>
  (value, draft, key) => {
    const names = (Array.isArray(value) ? value.map(String) : String(value).split(",")).map(
      (name) => name.trim(),
    )
    const isPath = (name: string): boolean => /[/\\]|\.\w{2,7}$/.test(name)
    const paths = names.map((name) => (isPath(name) ? name : `data/${name}.json`))
    toSources(set)(paths, draft, key)
    if (names.some((name) => /\.ya?ml$/.test(name))) {
      return "a list of data sets: put the paths of its files here"
    }
    return names.every(isPath)
      ? undefined
      : "a name in dataset_info.json: check that the path written here is its file"
  }

export const llamaFactory: Peer = {
  name: "LLaMA-Factory",
  owns: (keys, names) =>
    names.includes("llamafactory-cli") ||
    isVersionOne(keys) ||
    (keys.has("model_name_or_path") && (keys.has("template") || keys.has("export_dir"))) ||
    ["finetuning_type", "cutoff_len", "use_dft_loss", "use_asft_loss", "use_eaft_loss"].some(
      (key) => keys.has(key),
    ),
  prepare: (source) =>
    isVersionOne(new Set(Object.keys(source.settings))) ? versionOne(source) : source,
  refuses,
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
      if (value === "pt") put(draft, "data.supervise", "all")
      else if (value !== "sft") draft.objective.name = PREFERENCE[String(value)]
      return undefined
    },
    finetuning_type: (value, draft) => {
      draft.useLora = value === "lora"
    },
    dataset: namedDatasets("train"),
    eval_dataset: namedDatasets("eval"),
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
    pref_beta: (value, draft, key) =>
      objectiveParameter(String(draft.objective.name), "beta")(value, draft, key),
    pref_loss: (value, draft) => {
      if (value === "orpo" || value === "simpo") draft.objective.name = value
      else if (value !== "sigmoid") return "only DPO's sigmoid loss, orpo and simpo are offered"
      return undefined
    },
    ref_model: missing("the reference is the frozen model itself"),
    lora_rank: toLora("r"),
    lora_alpha: toLora("lora_alpha"),
    lora_dropout: toLora("lora_dropout"),
    lora_target: loraTargets,
    use_rslora: PEFT.use_rslora!,
    use_dora: PEFT.use_dora!,
    pissa_init: (value, draft, key) =>
      value === true ? PEFT.init_lora_weights!("pissa", draft, key) : undefined,
    pissa_iter: nothing,
    pissa_convert: nothing,
    additional_target: modulesToSave,
    loraplus_lr_ratio: PEFT.loraplus_lr_ratio!,
    loraplus_lr_embedding: nothing,
    adapter_name_or_path: earlierAdapter,
    use_muon: (value, draft) => {
      if (value === true) put(draft, "optimizer", "muon")
    },
    early_stopping_steps: TRAINING_ARGUMENTS.early_stopping_patience!,
    moe_aux_loss_coef: routerLoss,
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
