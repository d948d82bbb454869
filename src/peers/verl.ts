import {
  loraTargets,
  nothing,
  type Peer,
  put,
  type Rule,
  type Rules,
  scheduler,
  to,
  toLora,
  toSources,
} from "./draft.ts"

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
  "trainer.save_freq": to("save_steps"),
  "trainer.test_freq": to("eval_steps"),
  "trainer.objective_trans": objectiveTrans,
  "model.lora_rank": (value, draft) => {
    draft.useLora = Number(value) > 0
    draft.lora.r = Number(value)
  },
  "model.lora_alpha": toLora("lora_alpha"),
  "model.target_modules": loraTargets,
  "data.truncation": (value) => (value === "right" ? undefined : "rows are cut on the right"),
  ...Object.fromEntries(
    [
      ..."data.micro_batch_size_per_gpu data.micro_batch_size data.prompt_key data.response_key".split(
        " ",
      ),
      ..."data.prompt_dict_keys data.response_dict_keys model.use_liger".split(" "),
      ..."model.enable_gradient_checkpointing trainer.project_name trainer.experiment_name".split(
        " ",
      ),
      ..."trainer.logger trainer.default_hdfs_dir model.fsdp_config.model_dtype model.strategy".split(
        " ",
      ),
    ].map((key) => [key, nothing]),
  ),
}

export const verl: Peer = {
  name: "verl (DFT's official code, Beyond Log Likelihood)",
  owns: (keys) => keys.has("model.partial_pretrain") || keys.has("trainer.objective_trans"),
  defaults: { "data.train_batch_size": 256, "data.max_length": 1024, "optim.lr": 1e-5 },
  rules: verlRules,
  complete: ({ notes }) => {
    const text =
      "its gradient is the sum of micro-batch means; normalization: tokens is set, paper reproduces it"
    notes.push({ key: "normalization", value: undefined, text })
  },
}
