import { expect, test } from "vitest"
import { parse } from "yaml"
import { InputError } from "../../src/errors.ts"
import { importConfig } from "../../src/peers/import-config.ts"

/** Kinds of files from which something confidently wrong was made once. */

function imported(text: string, file = "config.yaml") {
  const { yaml, notes, peer } = importConfig(text, { file })
  const config = parse(yaml)
  return { config, notes, peer, data: config.data, noted: notes.map(({ key }) => key) }
}
const refusal = (text: string, file = "config.yaml"): string => {
  try {
    importConfig(text, { file })
  } catch (error) {
    if (error instanceof InputError) return error.message
    throw error
  }
  return "imported"
}

const SWIFT = "swift sft --model some/model --max_length 512"

test.each([
  ["HF::linxy/LaTeX_OCR:full#20000", [{ path: "linxy/LaTeX_OCR", name: "full", max_rows: 20000 }]],
  ["MS::some/rows", [{ path: "some/rows" }]],
  [
    "some/rows:a/b#10",
    [
      { path: "some/rows", name: "a", max_rows: 10 },
      { path: "some/rows", name: "b", max_rows: 10 },
    ],
  ],
  ["/data/rows.jsonl#5", [{ path: "/data/rows.jsonl", max_rows: 5 }]],
  ["some/rows 'other/rows:x'", [{ path: "some/rows" }, { path: "other/rows", name: "x" }]],
])("ms-swift's data set %s", (dataset, train) => {
  expect(imported(`${SWIFT} --dataset ${dataset}`, "x.sh").data.train).toEqual(train)
})

test("ms-swift's ids are ModelScope's unless they say otherwise, and that is noted", () => {
  expect(imported(`${SWIFT} --dataset some/rows`, "x.sh").noted).toContain("dataset")
  expect(imported(`${SWIFT} --dataset HF::some/rows`, "x.sh").noted).not.toContain("dataset")
})

test.each(["infer", "export", "deploy", "app", "eval", "sample"])(
  "swift %s is no training",
  (verb) => {
    const text = `swift ${verb} --model some/model --quant_bits 4`
    expect(refusal(text, "x.sh")).toMatch(new RegExp(`"${verb}" is not training`))
  },
)

test.each([
  ["swift rlhf --rlhf_type grpo --model a/b --dataset c/d", /"grpo" samples and rewards/],
  ["megatron rlhf --rlhf_type gkd --model a/b --dataset c/d", /"gkd" samples and rewards/],
  ["swift rlhf --rlhf_type classify --model a/b --dataset c/d", /rlhf_type "classify"/],
  ["swift sft --task_type seq_cls --model a/b --dataset c/d", /seq_cls/],
  ["swift sft --tuner_type adalora --model a/b --dataset c/d", /adalora/],
  ["llamafactory-cli export --model_name_or_path a/b", /"export" is not training/],
  ["trl grpo --model_name_or_path a/b --dataset_name c/d", /"grpo" samples and rewards/],
  [
    "python3 -m verl.trainer.main_ppo data.train_files=x algorithm.adv_estimator=grpo",
    /samples and rewards/,
  ],
  ["axolotl inference config.yml --base_model a/b --sequence_len 9", /"inference" is not training/],
])("%s is refused by name", (text, message) => {
  expect(refusal(text, "x.sh")).toMatch(message)
})

const AXOLOTL = "base_model: a/b\nsequence_len: 512\nlearning_rate: 2e-4\n"
const ROWS = "datasets:\n  - { path: some/rows, type: alpaca }\n"

test.each([
  [`${AXOLOTL}${ROWS}rl: grpo\n`, /"grpo" samples and rewards/],
  [`${AXOLOTL}${ROWS}rl: ebft\n`, /rl: ebft has no counterpart/],
  [`${AXOLOTL}${ROWS}process_reward_model: true\n`, /process_reward_model is another training/],
  [`${AXOLOTL}${ROWS}adapter: llama-adapter\n`, /llama-adapter/],
  ["model_name_or_path: a/b\nstage: ppo\nfinetuning_type: lora\ndataset: x\n", /"ppo" samples/],
  [
    "model_name_or_path: a/b\nstage: sft\nfinetuning_type: oft\ndataset: x\n",
    /"oft": only full and lora/,
  ],
  ["model_name_or_path: a/b\ntemplate: qwen\nexport_dir: out\n", /export, not of training/],
  ["model_name_or_path: a/b\ntemplate: qwen\ninfer_backend: hf\n", /inference/],
  ["model:\n  _component_: torchtune.models.x\n", /a config of torchtune/],
  ["compute_environment: LOCAL_MACHINE\nnum_processes: 8\n", /Accelerate's launcher/],
])("a config of another training is refused by name (%#)", (text, message) => {
  expect(refusal(text)).toMatch(message)
})

test.each(["dpo", "kto", "orpo"])("a preference objective is %s or refused, never sft", (name) => {
  const texts = [
    `${AXOLOTL}${ROWS}rl: ${name}\n`,
    `model_name_or_path: a/b\nstage: ${name}\nfinetuning_type: lora\ndataset: x\n`,
  ]
  for (const text of texts) {
    const said = refusal(text)
    if (said === "imported") expect(JSON.stringify(imported(text).config.objective)).toContain(name)
    else expect(said).toContain(`objective ${name}`)
  }
})

test("TRL's configs of other trainers, in Python", () => {
  const python = (name: string) => `args = ${name}(output_dir="x", learning_rate=1e-6)\n`
  expect(refusal(python("GRPOConfig"), "x.py")).toMatch(/"grpo" samples and rewards/)
  expect(refusal(python("PRMConfig"), "x.py")).toMatch(/"prm" trains something else/)
  expect(refusal(python("DPOConfig"), "x.py")).toMatch(/imported|objective dpo/)
})

test.each([
  ["x.yaml", "model_name_or_path: a/b\nstage: rm\nfinetuning_type: lora\ndataset: x\n", 0.00005],
  ["x.yaml", `${AXOLOTL}${ROWS}reward_model: true\n`, undefined],
  ["x.sh", "swift rlhf --rlhf_type rm --model a/b --dataset a/b\n", undefined],
  ["x.sh", "trl reward --model_name_or_path a/b --dataset_name a/b\n", 1e-4],
  ["x.py", 'args = RewardConfig(output_dir="x")\nRewardTrainer(model="a/b", args=args)\n', 1e-4],
  ["x.py", 'RewardTrainer("a/b", train_dataset=rows)\n', 1e-4],
])("a reward model's training, %#", (file, text, rate) => {
  const { config } = imported(text, file)
  expect(config).toMatchObject({ model: expect.stringContaining("/"), objective: "reward" })
  if (rate !== undefined) expect(config.learning_rate).toBe(rate)
})

test("how strongly a reward model's scores are held around 0 is kept", () => {
  const text = "trl reward --model_name_or_path a/b --center_rewards_coefficient 0.01\n"
  const objective = { name: "reward", center_rewards_coefficient: 0.01 }
  expect(imported(text, "x.sh").config.objective).toEqual(objective)
})

test("a preference trainer names its model", () => {
  const text = 'DPOTrainer("a/b", ref_model=None, args=DPOConfig(output_dir="x", beta=0.2))\n'
  const objective = { name: "dpo", beta: 0.2 }
  expect(imported(text, "x.py").config).toMatchObject({ model: "a/b", objective })
})

test.each([
  ["$(expr 16 / $nproc_per_node)", 4],
  ["$((16 / nproc_per_node))", 4],
  ["$((16 / $nproc_per_node))", 4],
  ["`expr 16 / $nproc_per_node`", 4],
  ["$((2 * (3 + 1)))", 8],
])("arithmetic in a script: %s", (written, value) => {
  const text = `nproc_per_node=4\n${SWIFT} --dataset a/b --gradient_accumulation_steps ${written}\n`
  expect(imported(text, "x.sh").config.batch_size).toBe(value)
})

test("a value that only running the script would tell is noted, and the rest is read", () => {
  const text = `${SWIFT} --dataset a/b --gradient_accumulation_steps $(nvidia-smi -L | wc -l) --seed 7\n`
  const { config, notes } = imported(text, "x.sh")
  expect(config.seed).toBe(7)
  expect(notes.find(({ key }) => key === "gradient_accumulation_steps")?.text).toMatch(
    /nothing is run/,
  )
})

test("of several commands the one that trains is read", () => {
  const text = `swift export --model x/y --quant_bits 4\n\n${SWIFT} --dataset a/b\n`
  const { config, noted } = imported(text, "x.sh")
  expect(config).toMatchObject({ model: "some/model" })
  expect(config.quantization).toBeUndefined()
  expect(noted).toContain("commands")
})

test("ms-swift's own defaults: full fine-tuning, a batch of 16, the model's length", () => {
  const full = imported("swift sft --model a/b --dataset c/d --train_type full", "x.sh")
  expect(full.config).toMatchObject({ learning_rate: 1e-5, batch_size: 16 })
  expect(full.noted).toContain("max_length")
  expect(imported(`${SWIFT} --dataset c/d`, "x.sh").config.learning_rate).toBe(1e-4)
  const two = `NPROC_PER_NODE=2 ${SWIFT} --dataset c/d --per_device_train_batch_size 4`
  expect(imported(two, "x.sh").config.batch_size).toBe(16)
})

test.each([
  ["all", "all"],
  ["last_round", "last"],
])("ms-swift's loss_scale %s", (given, supervise) => {
  const { data, noted } = imported(`${SWIFT} --dataset a/b --loss_scale ${given}`, "x.sh")
  expect(data.supervise).toBe(supervise)
  expect(noted).not.toContain("loss_scale")
})

test("megatron sft has names of its own", () => {
  const text =
    "megatron sft --model a/b --dataset HF::c/d --lr 1e-5 --global_batch_size 32 --micro_batch_size 2 --max_epochs 3 --save out --max_length 99"
  expect(imported(text, "x.sh").config).toMatchObject({
    ...{ learning_rate: 1e-5, batch_size: 32, num_train_epochs: 3, output_dir: "out" },
  })
})

const python = (loading: string) =>
  `from datasets import load_dataset\nds = ${loading}\nSFTTrainer(model="a/b", args=SFTConfig(output_dir="o"), train_dataset=ds)\n`

test.each([
  [`load_dataset("json", data_files="rows.jsonl", split="train")`, [{ path: "rows.jsonl" }]],
  [
    `load_dataset("json", data_files=["a.jsonl", "b.jsonl"])`,
    [{ path: "a.jsonl" }, { path: "b.jsonl" }],
  ],
  [`load_dataset("csv", data_files={"train": "a.csv", "test": "b.csv"})`, [{ path: "a.csv" }]],
  [
    `load_dataset("openai/gsm8k", "main", split="train")`,
    [{ path: "openai/gsm8k", name: "main", split: "train" }],
  ],
  [`load_dataset("openai/gsm8k", name="main")`, [{ path: "openai/gsm8k", name: "main" }]],
  [`load_dataset(path="a/b", split="train[:1%]")`, [{ path: "a/b", split: "train[:1%]" }]],
])("%s", (loading, train) => {
  expect(imported(python(loading), "x.py").data.train).toEqual(train)
})

test("Unsloth", () => {
  const text = `
from unsloth import FastLanguageModel
max_seq_length = 4096  # any
model, tokenizer = FastLanguageModel.from_pretrained(
    model_name = "unsloth/Llama-3.2-1B", max_seq_length = max_seq_length, dtype = None, load_in_4bit = True)
model = FastLanguageModel.get_peft_model(model, r = 32, target_modules = ["q_proj", "v_proj"],
    lora_alpha = 64, lora_dropout = 0, bias = "none", use_gradient_checkpointing = "unsloth", random_state = 3407)
dataset = load_dataset("json", data_files = "train.jsonl", split = "train")
trainer = SFTTrainer(model = model, tokenizer = tokenizer, train_dataset = dataset,
    dataset_text_field = "text", packing = False,
    args = TrainingArguments(per_device_train_batch_size = 2, gradient_accumulation_steps = 4,
        warmup_steps = 5, max_steps = 60, learning_rate = 2e-4, fp16 = not is_bfloat16_supported(),
        optim = "adamw_8bit", lr_scheduler_type = "linear", seed = 3407, output_dir = "outputs"))
`
  const { config, peer } = imported(text, "x.py")
  expect(peer).toBe("Unsloth")
  expect(config).toMatchObject({
    model: "unsloth/Llama-3.2-1B",
    adapter: { type: "lora", r: 32, lora_alpha: 64, target_modules: ["q_proj", "v_proj"] },
    quantization: "int4",
    data: { train: [{ path: "train.jsonl" }], max_length: 4096 },
    ...{ batch_size: 8, warmup_steps: 5, max_steps: 60, learning_rate: 2e-4, seed: 3407 },
  })
  const rows = imported(`${text}\ndataset = dataset.map(formatting)\n`, "x.py")
  expect(rows.noted).toContain("dataset.map")
})

test("mlx-lm", () => {
  const { config, peer, noted } = imported(
    `model: a/b
data: data/mine
train: true
fine_tune_type: lora
batch_size: 2
iters: 500
learning_rate: 1e-5
max_seq_length: 1024
mask_prompt: true
lora_parameters: {keys: ["self_attn.q_proj"], rank: 4, scale: 10.0, dropout: 0.05}
`,
  )
  expect(peer).toBe("mlx-lm")
  expect(config).toMatchObject({
    adapter: { r: 4, lora_alpha: 40, lora_dropout: 0.05, target_modules: ["q_proj"] },
    data: { supervise: "completions", max_length: 1024 },
    ...{ batch_size: 2, max_steps: 500, lr_scheduler: "constant", weight_decay: 0 },
  })
  expect(noted).toEqual(expect.arrayContaining(["data", "num_layers"]))
  const own = imported("model: a/b\ndata: ./rows\niters: 10\n")
  expect(own.data).toMatchObject({
    ...{ train: [{ path: "./rows/train.jsonl" }], eval: [{ path: "./rows/valid.jsonl" }] },
    supervise: "all",
  })
})

test.each([
  [
    "  - {path: ./rows, ds_type: json, data_files: [a.jsonl, b.jsonl]}",
    [{ path: "./rows/a.jsonl" }, { path: "./rows/b.jsonl" }],
  ],
  ["  - {path: json, data_files: a.jsonl}", [{ path: "a.jsonl" }]],
  ["  - {path: some/hub, data_files: x.jsonl}", [{ path: "x.jsonl" }]],
  [
    "  - {path: some/hub, name: main, split: test}",
    [{ path: "some/hub", name: "main", split: "test" }],
  ],
])("axolotl's data set %s", (entry, train) => {
  const { data, noted } = imported(`${AXOLOTL}datasets:\n${entry}\n`)
  expect(data.train).toEqual(train)
  if (entry.includes("some/hub, data")) expect(noted).toContain("datasets")
})

test("what of a data set has no counterpart is noted, and what a loss is over", () => {
  const { notes } = imported(`${AXOLOTL}datasets:\n  - {path: a/b, type: alpaca, shards: 10}\n`)
  expect(notes.find(({ key }) => key === "datasets")?.text).toContain("shards: 10")
  const trl = "model_name_or_path: a/b\ndataset_name: c/d\n"
  expect(imported(trl).noted).toContain("assistant_only_loss")
  expect(imported(`${trl}assistant_only_loss: true\n`).noted).not.toContain("assistant_only_loss")
})

test("axolotl: merged keys, named columns, texts to go on with", () => {
  const merged = `base: &b {path: some/rows}\n${AXOLOTL}datasets:\n  - <<: *b\n    type: alpaca\n`
  expect(imported(merged).data).toMatchObject({ train: [{ path: "some/rows" }], format: "alpaca" })
  const custom = `${AXOLOTL}datasets:\n  - path: r.jsonl\n    type: {field_instruction: q, field_output: a, format: "{instruction}"}\n`
  const { data, notes } = imported(custom)
  expect(data.columns).toEqual({ prompt: "q", completion: "a" })
  expect(notes.find(({ key }) => key === "datasets")?.text).toContain("format")
  expect(JSON.stringify(notes)).not.toContain("[object")
  const pretrain = imported(
    `${AXOLOTL}pretraining_dataset:\n  - {path: c/d, name: en, text_column: body}\n`,
  )
  expect(pretrain.data).toMatchObject({
    ...{ train: [{ path: "c/d", name: "en" }], supervise: "all", format: "text" },
    columns: { text: "body" },
  })
})

test("YAML is read as PyYAML reads it", () => {
  const { config } = imported(
    `${AXOLOTL.replace("512", "500_000")}${ROWS}sample_packing: on\nseed: 0x10\ngradient_checkpointing: yes\noutput_dir: 2026-01-01\n`,
  )
  expect(config).toMatchObject({
    data: { max_length: 500000, packing: true },
    ...{ learning_rate: 2e-4, seed: 16, recompute: "always", output_dir: "2026-01-01" },
  })
})

test("a value out of bounds costs itself alone", () => {
  const text = `model_name_or_path: a/b\nstage: sft\nfinetuning_type: lora\ndataset: x\nsave_total_limit: 0\nmax_grad_norm: -1\nseed: 3\n`
  const { config, noted } = imported(text)
  expect(config.seed).toBe(3)
  expect(config).not.toHaveProperty("max_grad_norm")
  expect(noted).toEqual(expect.arrayContaining(["save_total_limit", "max_grad_norm"]))
  const auto = imported(`${text}per_device_train_batch_size: auto\n`)
  expect(auto.noted).toContain("per_device_train_batch_size")
})

test("TRL's mixtures, verl's nested YAML and newer names, LLaMA-Factory's second generation", () => {
  const mixture = imported(
    "model_name_or_path: a/b\ndataset_mixture:\n  datasets:\n    - {path: c/d, name: x, split: train, columns: [messages]}\n    - {path: e/f}\n  test_split_size: 0.1\n",
  )
  expect(mixture.data.train).toEqual([{ path: "c/d", name: "x", split: "train" }, { path: "e/f" }])
  expect(mixture.noted).toContain("dataset_mixture")

  const nested = imported(
    "data:\n  train_files: t.parquet\n  prompt_key: question\n  max_length: 99\nmodel:\n  partial_pretrain: a/b\noptim:\n  lr: 1e-5\ntrainer:\n  total_epochs: 2\n  save_freq: -1\n  default_local_dir: out/$" +
      "{trainer.name}\n",
  )
  expect(nested.config).toMatchObject({
    ...{ model: "a/b", num_train_epochs: 2, save_steps: 0 },
    data: { train: [{ path: "t.parquet" }], columns: { prompt: "question" } },
  })
  expect(nested.noted).toContain("trainer.default_local_dir")
  const newer =
    "torchrun -m verl.trainer.sft_trainer model.path=a/b data.train_files=t.parquet optim.lr=2e-5"
  expect(imported(newer, "x.sh").config).toMatchObject({ model: "a/b", learning_rate: 2e-5 })

  const second = imported(
    "model: a/b\nmodel_class: llm\npeft_config: {name: lora, r: 16, lora_alpha: 32, target_modules: all}\ntrain_dataset: data/rows.jsonl\nmicro_batch_size: 2\ncutoff_len: 99\n",
  )
  expect(second.config).toMatchObject({
    adapter: { r: 16, lora_alpha: 32, target_modules: "all-linear" },
    data: { train: [{ path: "data/rows.jsonl" }], max_length: 99 },
    batch_size: 2,
  })
})

test("outside quotes a shell variable's value is as many words as it has", () => {
  const script = (given: string) =>
    `DATA="a.jsonl b.jsonl"\nswift sft --model q/q --max_length 512 --dataset ${given}`
  const two = [{ path: "a.jsonl" }, { path: "b.jsonl" }]
  expect(imported(script("$DATA"), "x.sh").data.train).toEqual(two)
  expect(imported(script('"$DATA"'), "x.sh").data.train).toEqual([{ path: "a.jsonl b.jsonl" }])
})

test.each(["python -m swift.cli.sft", "torchrun --nproc_per_node 2 swift/cli/sft.py"])(
  "%s is ms-swift's training",
  (program) => {
    const { peer, config } = imported(`${program} --model q/q --dataset a.jsonl`, "x.sh")
    expect([peer, config.objective]).toEqual(["ms-swift", "sft"])
    expect(refusal("python -m swift.cli.export --model q/q", "x.sh")).toMatch(/is not training/)
  },
)

test("the loss of dpo goes by TRL's names", () => {
  const trl = (loss: string) =>
    imported(`trl dpo --model_name_or_path q/q --dataset_name d/d --loss_type ${loss}`, "x.sh")
  expect(trl("ipo").config.objective).toMatchObject({ name: "dpo", loss: "ipo" })
  expect(trl("apo_zero").config.objective).toMatchObject({ name: "dpo", loss: "apo-zero" })
  const plain = trl("sigmoid")
  expect(plain.config.objective.loss).toBeUndefined()
  expect(plain.noted).not.toContain("loss_type")
  expect(trl("discopop").noted).toContain("loss_type")
  const swift = "swift rlhf --rlhf_type dpo --model q/q --dataset a.jsonl --loss_type hinge"
  expect(imported(swift, "x.sh").config.objective).toMatchObject({ name: "dpo", loss: "hinge" })
})

test("a script's model by from_pretrained, and the files of its test split", () => {
  const script = (files: string) => `
MODEL = "q/q"
model = AutoModelForCausalLM.from_pretrained(MODEL, torch_dtype="auto")
ref = AutoModelForCausalLM.from_pretrained("r/r")
rows = load_dataset("json", data_files=${files})
SFTTrainer(model=model, train_dataset=rows["train"], args=SFTConfig(max_steps=5))`
  const files = imported(script('{"train": ["a.jsonl", "b.jsonl"], "test": "t.jsonl"}'), "x.py")
  expect(files.config.model).toBe("q/q")
  expect(files.data).toMatchObject({
    train: [{ path: "a.jsonl" }, { path: "b.jsonl" }],
    eval: [{ path: "t.jsonl" }],
  })
  const more = '{"train": "a.jsonl", "validation": "v.jsonl", "test": "t.jsonl"}'
  const { data, notes } = imported(script(more), "x.py")
  expect(data.eval).toEqual([{ path: "v.jsonl" }])
  expect(notes.find(({ text }) => /the files of test/.test(text))).toBeDefined()
})
