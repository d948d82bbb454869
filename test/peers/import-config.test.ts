import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { parse } from "yaml"
import { loadConfig } from "../../src/config/index.ts"
import { InputError } from "../../src/errors.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import { importConfig } from "../../src/peers/import-config.ts"

const LLAMA_FACTORY = `
model_name_or_path: some/model
stage: sft
finetuning_type: lora
lora_rank: 16
lora_target: all
dataset: one,two
cutoff_len: 512
max_samples: 100
per_device_train_batch_size: 2
gradient_accumulation_steps: 4
learning_rate: 1.0e-4
num_train_epochs: 2.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
template: qwen
report_to: none
`
const AXOLOTL = `
base_model: some/model
datasets:
  - { path: some/rows, type: alpaca, split: train }
adapter: qlora
lora_r: 4
lora_target_linear: true
sequence_len: 256
micro_batch_size: 2
learning_rate: 0.0002
wandb_project:
early_stopping_patience:
`
const TRL = `
model_name_or_path: some/model
dataset_name: some/rows
dataset_train_split: train[:10%]
learning_rate: 2.0e-5
`

const imported = (text: string, file = "config.yaml") => {
  const { yaml, ...more } = importConfig(text, { file })
  return { config: parse(yaml), yaml, ...more }
}
const noted = (notes: readonly { key: string }[]) => notes.map(({ key }) => key)

test("LLaMA-Factory", () => {
  const { config, notes, peer } = imported(LLAMA_FACTORY)
  expect(peer).toBe("LLaMA-Factory")
  expect(config).toMatchObject({
    model: "some/model",
    // Its alpha is twice the rank when left out.
    adapter: { type: "lora", r: 16, lora_alpha: 32, target_modules: "all-linear" },
    data: {
      train: [
        { path: "data/one.json", max_rows: 100 },
        { path: "data/two.json", max_rows: 100 },
      ],
      max_length: 512,
    },
    objective: "sft",
    learning_rate: 1e-4,
    batch_size: 8,
    // Transformers' defaults are written out where ours differ.
    ...{ weight_decay: 0, adam_beta2: 0.999, seed: 42 },
  })
  expect(noted(notes)).toEqual(["dataset", "template", "batch_size"])
})

test.each([
  ["use_dft_loss: true", "dft"],
  ["use_dft_loss: false", "sft"],
  ["use_asft_loss: true", { name: "asft", lambda: 0.1 }],
  ["use_asft_loss: true\nasft_alpha: 0.03", { name: "asft", lambda: 0.03 }],
  ["use_eaft_loss: true\neaft_alpha: 2", { name: "eaft", alpha: 2 }],
  ["use_dft_loss: true\nasft_alpha: 0.1\neaft_alpha: 1.0", "dft"],
])("LLaMA-Factory's %j is %j", (lines, objective) => {
  expect(imported(`${LLAMA_FACTORY}${lines}\n`).config.objective).toEqual(objective)
})

test("two objectives at once are noted, not guessed at", () => {
  const { config, notes } = imported(`${LLAMA_FACTORY}use_dft_loss: true\nuse_eaft_loss: true\n`)
  expect(config.objective).toBe("dft")
  expect(notes.find(({ key }) => key === "use_eaft_loss")!.text).toContain("one objective")
})

test("a schedule with its floor and decay comes over; what it has not is told", () => {
  const { config, notes } = imported(
    `${AXOLOTL}lr_scheduler: warmup_stable_decay\nlr_scheduler_kwargs: { num_decay_steps: 7, min_lr_ratio: 0.1, min_lr: 1e-6 }\n`,
  )
  expect(config).toMatchObject({
    lr_scheduler: "warmup_stable_decay",
    lr_scheduler_kwargs: { num_decay_steps: 7, min_lr_rate: 0.1 },
  })
  expect(notes.find(({ key }) => key === "lr_scheduler_kwargs")!.text).toMatch(
    /^left out: min_lr; a floor is min_lr_rate here/,
  )
})

test("axolotl", () => {
  const { config, notes, peer } = imported(
    `${AXOLOTL}liger_use_token_scaling: true\nwarmup_steps: 10\nmax_steps: 40\n`,
  )
  expect(peer).toBe("axolotl")
  expect(config).toMatchObject({
    adapter: { type: "lora", r: 4, target_modules: "all-linear" },
    quantization: "int4",
    data: { train: [{ path: "some/rows", split: "train" }], format: "alpaca", max_length: 256 },
    objective: "dft",
    ...{ batch_size: 2, warmup_steps: 10, max_steps: 40 },
  })
  expect(config).not.toHaveProperty("num_train_epochs")
  // What is empty is not worth a note.
  expect(noted(notes)).toEqual(["batch_size"])
})

test("axolotl's EAFT is known to be three times larger", () => {
  const { config, notes } = imported(`${AXOLOTL}use_eaft: true\neaft_alpha: 1.0\neaft_k: 10\n`)
  expect(config.objective).toEqual({ name: "eaft", alpha: 1 })
  expect(noted(notes)).toEqual(["use_eaft", "eaft_k", "batch_size"])
})

test("TRL, as YAML and as JSON", () => {
  const { config, peer } = imported(`${TRL}loss_type: dft\nuse_peft: true\n`)
  expect(peer).toBe("TRL")
  expect(config).toMatchObject({
    data: { train: [{ path: "some/rows", split: "train[:10%]" }], max_length: 1024 },
    adapter: { r: 16, lora_alpha: 32, lora_dropout: 0.05, target_modules: ["q_proj", "v_proj"] },
    objective: "dft",
    ...{ lr_scheduler: "linear", warmup_ratio: 0, num_train_epochs: 3, batch_size: 8 },
  })
  const json = JSON.stringify({ ...parse(TRL), loss_type: "dft", use_peft: true })
  expect(imported(json, "sft.json").config).toEqual(config)
})

test("TRL's Python is read, not run", () => {
  const { config, notes } = imported(
    `
peft_config = LoraConfig(r=4, target_modules=["q_proj", "k_proj"])
args = SFTConfig(
    output_dir="a, (b)",  # a comment, with (brackets)
    loss_type='dft', learning_rate=2e-4, seed=1_000, packing=True, max_grad_norm=get_norm(1, [2]),
)
trainer = SFTTrainer(model="some/model", args=args, train_dataset=load_dataset("rows", split="train"))
__import__("os").system("exit 1")
`,
    "train.py",
  )
  expect(config).toMatchObject({
    model: "some/model",
    adapter: { r: 4, lora_alpha: 8, lora_dropout: 0, target_modules: ["q_proj", "k_proj"] },
    data: { train: [{ path: "rows", split: "train" }], packing: true },
    objective: "dft",
    ...{ learning_rate: 2e-4, seed: 1000, output_dir: "a, (b)" },
  })
  expect(notes[0]).toEqual({
    key: "max_grad_norm",
    value: "get_norm(1, [2])",
    text: expect.stringContaining("nothing is run"),
  })
})

test("ms-swift's command line, with its devices", () => {
  const { config, notes, peer } = imported(
    `# a comment --learning_rate 1
NPROC_PER_NODE=4 \\
swift sft --model some/model \\
  --train_type full --dataset some/rows#500 'other rows.jsonl' --enable_dft_loss true \\
  --per_device_train_batch_size 8 --gradient_accumulation_steps 2 --learning_rate=5e-5 \\
  --output_dir "$OUT" --system 'Be brief.'
`,
    "dft.sh",
  )
  expect(peer).toBe("ms-swift")
  expect(config).toMatchObject({
    model: "some/model",
    data: { train: [{ path: "some/rows", max_rows: 500 }, { path: "other rows.jsonl" }] },
    objective: "dft",
    ...{ batch_size: 64, learning_rate: 5e-5, weight_decay: 0.1 },
  })
  expect(config).not.toHaveProperty("adapter")
  expect(noted(notes)).toEqual(["dataset", "system", "output_dir", "max_length", "batch_size"])
})

const objectives: [string, unknown][] = [
  ["original", "sft"],
  ["p", { name: "alpha", a: 1 }],
  ["GeneralFamily-10", { name: "alpha", a: 10 }],
  ["OnlyTopLogP-0.2", { name: "threshold", tau: 0.2, keep: "high" }],
  ["OnlyBottomP-0.1", { name: "threshold", tau: 0.1, a: 1, keep: "low" }],
]

test.each(objectives)("verl's objective_trans %s is %j", (name, objective) => {
  const { config, notes } = imported(
    `torchrun --standalone --nproc_per_node=8 -m main_verl.trainer.fsdp_sft_trainer model.partial_pretrain=some/model data.train_files=train.parquet data.train_batch_size=128 trainer.objective_trans=${name}`,
    "run.sh",
  )
  expect(config).toMatchObject({ model: "some/model", batch_size: 128 })
  expect(config.objective).toEqual(objective)
  expect(() => objectiveFromConfig(config.objective)).not.toThrow()
  expect(noted(notes)).toEqual(["normalization"])
})

test("an objective_trans that was never published is noted", () => {
  const text = "trainer.objective_trans: Secret-3\n"
  const { config, notes } = imported(text)
  expect(config.objective).toBe("sft")
  expect(noted(notes)).toContain("trainer.objective_trans")
})

test.each([
  ["lion_32bit", "lion"],
  ["paged_adamw_8bit", "adamw-8bit"],
  ["adamw_bnb_8bit", "adamw-8bit"],
  ["adafactor", "adafactor"],
  ["adamw_torch_fused", undefined],
])("the optimizer %s is %s", (theirs, ours) => {
  const { config, notes } = imported(`${TRL}optim: ${theirs}\n`)
  expect(config.optimizer).toBe(ours)
  expect(noted(notes)).not.toContain("optim")
})

const FACTORY =
  "model_name_or_path: a/b\nstage: sft\nfinetuning_type: lora\nlora_rank: 4\ndataset: x\n"
const AXOLOTL_LORA =
  "base_model: a/b\nsequence_len: 512\nadapter: lora\nlora_r: 4\ndatasets:\n  - { path: x, type: alpaca }\n"
const UNSLOTH = (
  more: string,
) => `model, tokenizer = FastLanguageModel.from_pretrained(model_name="a/b")
model = FastLanguageModel.get_peft_model(model, r=4, ${more})
trainer = SFTTrainer(model=model, args=SFTConfig(output_dir="x"))
`
const SWIFT = "swift sft --model a/b --dataset x --train_type lora --lora_rank 4"

test.each<[string, string, string, object]>([
  [
    "TRL",
    "x.yaml",
    `${TRL}use_peft: true\nlora_modules_to_save: [embed_tokens, lm_head]\n`,
    { modules_to_save: ["embed_tokens", "lm_head"] },
  ],
  [
    "LLaMA-Factory",
    "x.yaml",
    `${FACTORY}additional_target: embed_tokens,lm_head\nloraplus_lr_ratio: 16.0\n`,
    { modules_to_save: ["embed_tokens", "lm_head"], loraplus_lr_ratio: 16 },
  ],
  [
    "axolotl",
    "x.yaml",
    `${AXOLOTL_LORA}lora_modules_to_save: [embed_tokens]\nlora_layers_to_transform: 1,2\nloraplus_lr_ratio: 8\n`,
    { modules_to_save: ["embed_tokens"], layers_to_transform: [1, 2], loraplus_lr_ratio: 8 },
  ],
  [
    "Unsloth",
    "x.py",
    UNSLOTH('modules_to_save=["lm_head"], layers_to_transform=[0]'),
    { modules_to_save: ["lm_head"], layers_to_transform: [0] },
  ],
  [
    "ms-swift",
    "x.sh",
    `${SWIFT} --modules_to_save embed_tokens lm_head --lorap_lr_ratio 4`,
    { modules_to_save: ["embed_tokens", "lm_head"], loraplus_lr_ratio: 4 },
  ],
])("what an adapter of %s says carries over", (_peer, file, text, adapter) => {
  const { config, notes } = imported(text, file)
  expect(config.adapter).toMatchObject(adapter)
  const about = noted(notes).filter((key) => /modules_to_save|layers_to|ratio|additional/.test(key))
  expect(about).toEqual([])
})

test("noise, best step and early stopping carry over", () => {
  const best = "load_best_model_at_end: true\nmetric_for_best_model: eval_loss\n"
  const text = `${FACTORY}neftune_noise_alpha: 5\n${best}early_stopping_steps: 3\n`
  const { config, notes } = imported(`${text}eval_dataset: rows.jsonl\neval_steps: 10\n`)
  const kept = { neftune_noise_alpha: 5, load_best_model_at_end: true, early_stopping_patience: 3 }
  expect(config).toMatchObject({ ...kept, metric_for_best_model: "eval_loss" })
  expect(noted(notes)).not.toContain("neftune_noise_alpha")
  const without = imported(text)
  expect(without.config).not.toHaveProperty("load_best_model_at_end")
  expect(noted(without.notes)).toEqual(
    expect.arrayContaining(["load_best_model_at_end", "early_stopping_patience"]),
  )
})

test("an adapter that training went on from is noted with the line to write", () => {
  const { notes } = imported(`${FACTORY}adapter_name_or_path: saves/first\n`)
  const note = notes.find(({ key }) => key === "adapter_name_or_path")
  expect(note?.text).toContain('adapter: { path: "saves/first" }')
})

test("what is not known is noted with its value; nothing is passed over", () => {
  const { notes, yaml } = imported(
    `${TRL}made_up: 7\nlabel_smoothing_factor: 0.1\noptim: galore_adamw\n`,
  )
  expect(noted(notes)).toEqual(
    expect.arrayContaining(["made_up", "label_smoothing_factor", "optim"]),
  )
  expect(yaml).toContain("# - made_up 7: not known here")
})

test("a note cannot break out of its comment", () => {
  const { config, yaml } = imported(JSON.stringify({ ...parse(TRL), "x\nmodel": "evil\nmodel: y" }))
  expect(config.model).toBe("some/model")
  expect(yaml.match(/^model:/gm)).toHaveLength(1)
})

test("the file written is a config that loads", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-import-"))
  try {
    const path = join(folder, "dftune.yaml")
    writeFileSync(path, importConfig(LLAMA_FACTORY, { file: "x.yaml" }).yaml)
    const config = await loadConfig(path)
    expect(config.data.max_length).toBe(512)
    expect(readFileSync(path, "utf8")).toMatch(/^# Imported from x.yaml \(LLaMA-Factory\)/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

const bombs = Array.from({ length: 12 }, (_, k) =>
  k === 0 ? "a0: &a0 [x,x,x,x,x,x,x,x,x,x]" : `a${k}: &a${k} [${Array(10).fill(`*a${k - 1}`)}]`,
)

test.each([
  ["nothing known", "a: 1\n", "recognised none"],
  ["a list", "- 1\n", "expected keys and values"],
  ["nothing", "", "expected keys and values"],
  ["broken YAML", "a: [1\n", "config.yaml:1:4: [ has no ] that closes it"],
  ["too much", `a: ${"x".repeat(1 << 21)}`, "at most 1 MB"],
  ["aliases that explode", `${bombs.join("\n")}\n`, "repeat is too large"],
])("%s is refused", (_what, text, says) => {
  expect(() => importConfig(text, { file: "config.yaml" })).toThrow(InputError)
  expect(() => importConfig(text, { file: "config.yaml" })).toThrow(says)
})

test("Python without a known call, and a command without options, are refused", () => {
  expect(() => importConfig("print(1)", { file: "x.py" })).toThrow("expected a call of SFTConfig")
  expect(() => importConfig("swift sft", { file: "x.sh" })).toThrow("--key value")
})

test.each([
  [
    "cut.py",
    "from trl import SFTConfig\nargs = SFTConfig(\n  learning_rate=1e-5,\n",
    /cut\.py:2: the call of SFTConfig is not closed/,
  ],
  [
    "text.py",
    'args = SFTConfig(output_dir="out,\n  learning_rate=1e-5)\n',
    /text\.py:1: the call of SFTConfig is not closed/,
  ],
  [
    "cut.sh",
    '#!/bin/sh\nswift sft --model "some/model --learning_rate 1e-5 \\\n  --lora_rank 8\n',
    /cut\.sh:2: the quote " has no partner/,
  ],
])("%s is not whole: it is refused, with its line", (file, text, error) => {
  expect(() => importConfig(text, { file })).toThrow(error)
})

test("quotes in comments, in texts that a script writes and in long strings are none of these", () => {
  const shell = imported(
    `# it's a run\ncat > note.txt <<'END'\nit's "open\nEND\nswift sft --model some/model --learning_rate 1e-5 # don't stop\n`,
    "a.sh",
  )
  expect(shell.config).toMatchObject({ model: "some/model", learning_rate: 1e-5 })
  const python = imported(
    `args = SFTConfig(\n  output_dir="out",\n  run_name="""it's (\nlong""",\n  learning_rate=1e-5,\n)\ntrainer = SFTTrainer(model="some/model", args=args)\n`,
    "a.py",
  )
  expect(python.config).toMatchObject({ model: "some/model", learning_rate: 1e-5 })
})
