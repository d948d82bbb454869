import {
  nothing,
  onlineReason,
  type Peer,
  put,
  putColumn,
  type Rule,
  type Rules,
  to,
  toLora,
  toSourceField,
  toSources,
} from "./draft.ts"
import { loraTargets } from "./lora-rules.ts"
import { scheduler } from "./training-arguments.ts"
import { dotted } from "./yaml-source.ts"

/** `trainer.objective_trans` of "Beyond Log Likelihood" (arXiv 2510.00526). */
const objectiveTrans: Rule = (value, draft) => {
  const [, name, number] = /^([A-Za-z]+)(?:-([\d.]+))?$/.exec(String(value)) ?? []
  const q = Number(number)
  const found = {
    original: { name: "sft" },
    logp: { name: "sft" },
    p: { name: "alpha", a: 1 },
    GeneralFamily: { name: "alpha", a: q },
    OnlyTopP: { name: "threshold", tau: q, a: 1, keep: "high" },
    OnlyBottomP: { name: "threshold", tau: q, a: 1, keep: "low" },
    OnlyTopLogP: { name: "threshold", tau: q, keep: "high" },
    OnlyBottomLogP: { name: "threshold", tau: q, keep: "low" },
  }[name ?? ""]
  if (found === undefined || Object.values(found).includes(Number.NaN)) {
    return "not one of its published objectives; the objective is left at sft"
  }
  Object.assign(draft.objective, found)
  return undefined
}

/** `+data.prompt_dict_keys=['question']`: the column is a mapping, and this key of it is meant. */
const dictKeys =
  (column: string, of: string): Rule =>
  (value, draft) => {
    if (value === null) return undefined
    const names = Array.isArray(value) ? value.map(String) : String(value).match(/[\w-]+/g)
    if (names?.length !== 1)
      return `which of them is the ${column} cannot be said here: name it in data.columns`
    // its own examples flatten the mapping: `extra_info.question`
    putColumn(draft, column, names[0], column)
    return `a key of the mapping in ${of}: the rows need it as a column of their own`
  }

/** -1 is never. */
const frequency =
  (key: string): Rule =>
  (value, draft) => {
    put(draft, key, Number(value) < 0 ? 0 : value)
    return undefined
  }

/**
 * The rules of the dotted form, of `fsdp_sft_trainer`; the newer engine's names are brought to it.
 */
const verlRules: Rules = {
  "model.partial_pretrain": to("model"),
  "data.train_files": toSources("train"),
  "data.val_files": toSources("eval"),
  "data.train_batch_size": (value, draft) => {
    put(draft, "batch_size", Number(value))
  },
  "data.max_length": to("data.max_length"),
  "optim.lr": to("learning_rate"),
  "optim.weight_decay": to("weight_decay"),
  "optim.warmup_steps_ratio": to("warmup_ratio"),
  "optim.clip_grad": to("max_grad_norm"),
  "optim.lr_scheduler": scheduler,
  "trainer.total_epochs": to("num_train_epochs"),
  "trainer.total_training_steps": to("max_steps"),
  "trainer.default_local_dir": to("output_dir"),
  "trainer.save_freq": frequency("save_steps"),
  "trainer.test_freq": frequency("eval_steps"),
  "trainer.seed": to("seed"),
  "trainer.max_ckpt_to_keep": to("save_total_limit"),
  "optim.betas": (value, draft) => {
    const [first, second] = Array.isArray(value) ? value : []
    if (typeof first !== "number" || typeof second !== "number") return "no pair of numbers"
    put(draft, "adam_beta1", first)
    put(draft, "adam_beta2", second)
    return undefined
  },
  "data.train_max_samples": (value, draft, key) =>
    Number(value) > 0 ? toSourceField("train", "max_rows")(value, draft, key) : undefined,
  "trainer.objective_trans": objectiveTrans,
  "model.lora_rank": (value, draft) => {
    draft.useLora = Number(value) > 0
    draft.lora.r = Number(value)
  },
  "model.lora_alpha": toLora("lora_alpha"),
  "model.target_modules": loraTargets,
  "data.prompt_key": (value, draft) => putColumn(draft, "prompt", value, "prompt"),
  "data.response_key": (value, draft) => putColumn(draft, "completion", value, "completion"),
  "data.messages_key": (value, draft) => putColumn(draft, "messages", value, "messages"),
  "data.multiturn.messages_key": (value, draft) => putColumn(draft, "messages", value, "messages"),
  "data.prompt_dict_keys": dictKeys("prompt", "data.prompt_key"),
  "data.response_dict_keys": dictKeys("completion", "data.response_key"),
  "data.truncation": (value) => (value === "right" ? undefined : "rows are cut on the right"),
  ...Object.fromEntries(
    [
      ..."data.micro_batch_size_per_gpu data.micro_batch_size".split(" "),
      ..."trainer.nnodes trainer.n_gpus_per_node trainer.device trainer.resume_mode defaults".split(
        " ",
      ),
      ..."data.val_max_samples data.pad_mode data.use_dynamic_bsz checkpoint.save_contents".split(
        " ",
      ),
      ..."trainer.checkpoint.save_contents trainer.checkpoint.load_contents".split(" "),
      ..."model.use_liger model.use_remove_padding".split(" "),
      ..."model.enable_gradient_checkpointing trainer.project_name trainer.experiment_name".split(
        " ",
      ),
      ..."trainer.logger trainer.default_hdfs_dir model.fsdp_config.model_dtype model.strategy".split(
        " ",
      ),
    ].map((key) => [key, nothing]),
  ),
}

/** Names of the newer engine (`sft_trainer` on `verl.workers`). */
const NEWER: Readonly<Record<string, string>> = {
  "model.path": "model.partial_pretrain",
  "model.lora_target_modules": "model.target_modules",
  "optim.lr_warmup_steps_ratio": "optim.warmup_steps_ratio",
  "optim.lr_scheduler_type": "optim.lr_scheduler",
  "optim.warmup_style": "optim.lr_scheduler",
  "engine.strategy": "model.strategy",
}

const isVerl = (keys: ReadonlySet<string>): boolean =>
  keys.has("model.partial_pretrain") ||
  keys.has("trainer.objective_trans") ||
  (keys.has("model.path") && keys.has("data.train_files"))

/** The nested YAML has the same keys as the command line's dotted ones. */
function flattened(keys: ReadonlySet<string>): boolean {
  return keys.has("data") && keys.has("trainer") && keys.has("optim") && keys.has("model")
}

export const verl: Peer = {
  name: "verl (DFT's official code, Beyond Log Likelihood)",
  owns: (keys, names) =>
    isVerl(keys) || flattened(keys) || names.some((name) => /^verl\./.test(name)),
  prepare: (source) => {
    const named = (settings: object) =>
      Object.entries(settings).map(([key, value]): [string, unknown] => [NEWER[key] ?? key, value])
    const all = named(dotted(source.settings))
    const isExpression = (value: unknown): value is string =>
      typeof value === "string" && value.includes("${")
    return {
      ...source,
      settings: Object.fromEntries(all.filter(([, value]) => !isExpression(value))),
      expressions: Object.fromEntries([
        ...(named(source.expressions) as [string, string][]),
        ...all.filter((entry): entry is [string, string] => isExpression(entry[1])),
      ]),
    }
  },
  refuses: ({ settings, names }) => {
    const entry = names.find((name) =>
      /^verl\.trainer\.main|main_ppo|main_generation|main_eval/.test(name),
    )
    if (entry !== undefined) return onlineReason(entry)
    const algorithm = settings["algorithm.adv_estimator"]
    return algorithm === undefined ? undefined : onlineReason(String(algorithm))
  },
  defaults: {
    "data.train_batch_size": 256,
    "data.max_length": 1024,
    "optim.lr": 1e-5,
    "optim.weight_decay": 0.01,
    "optim.warmup_steps_ratio": 0.1,
    "optim.clip_grad": 1,
  },
  rules: verlRules,
  complete: ({ notes }) => {
    const text =
      "its gradient is the sum of micro-batch means; normalization: tokens is set, paper reproduces it"
    notes.push({ key: "normalization", value: undefined, text })
  },
}
