import { mkdtempSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import {
  configJsonSchema,
  defineConfig,
  loadConfig,
  OBJECTIVES,
  parseConfig,
} from "../../src/config/index.ts"
import { InputError } from "../../src/errors.ts"
import { fc } from "../seeded-check.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-config-"))
const minimal = { model: "m", data: { train: ["a.jsonl"] } }

function written(name: string, text: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** What is said about a config, a line each; `FILE` stands for its path. */
async function complaints(
  name: string,
  text: string | Buffer,
  set: string[] = [],
): Promise<string[]> {
  const path = written(name, text)
  try {
    await loadConfig(path, { set })
  } catch (error) {
    expect(error).toBeInstanceOf(InputError)
    return (error as Error).message.replaceAll(path, "FILE").split("\n")
  }
  return []
}

test("defaults are filled in and short forms written out", () => {
  const config = parseConfig(minimal)
  expect(config.engine).toEqual({
    name: "onnx",
    device: "auto",
    threads: "auto",
    dtype: "auto",
  })
  expect(config.objective).toMatchObject({ name: "dft", normalization: "tokens" })
  expect(config.data.train).toEqual([{ path: "a.jsonl", weight: 1 }])
  expect(config.num_train_epochs).toBe(1)
  expect(config.micro_batch_tokens).toBe("auto")
  expect(parseConfig({ ...minimal, engine: "torch" }).micro_batch_tokens).toBe("auto")
  const paper = { ...minimal, objective: { name: "dft", normalization: "paper" } }
  expect(parseConfig(paper).micro_batch_tokens).toBe(4096)
  const long = { ...paper, engine: "torch", data: { ...minimal.data, max_length: 9000 } }
  expect(parseConfig(long).micro_batch_tokens).toBe(9000)
  expect(parseConfig({ ...minimal, max_steps: 3 }).num_train_epochs).toBeNull()
  expect(parseConfig({ ...minimal, device_memory: "1.5 GiB" }).device_memory).toBe(1.5 * 2 ** 30)
})

test("a resolved config resolves to itself", () => {
  const inputs = [
    minimal,
    { ...minimal, max_steps: 7, engine: "torch" as const, adapter: { r: 4 } },
    { ...minimal, objective: { name: "threshold", tau: 0.2, ramp: {} }, device_memory: "8GB" },
  ]
  for (const input of inputs) {
    const config = parseConfig(defineConfig(input))
    expect(parseConfig(JSON.parse(JSON.stringify(config)))).toEqual(config)
  }
})

const EXAMPLE = `
model: Qwen/Qwen2.5-Math-1.5B
adapter: { type: lora, r: 8, lora_alpha: 16, lora_dropout: 0, target_modules: all-linear }
quantization: none
data:
  train: [{ path: train.jsonl }]
  eval:  [{ path: test.jsonl }]
  format: auto
  max_length: 2048
  packing: true
  supervise: completions
objective: dft
learning_rate: 5.0e-5
lr_scheduler: cosine
warmup_ratio: 0.1
weight_decay: 0.01
adam_beta1: 0.9
adam_beta2: 0.95
max_grad_norm: 1.0
batch_size: 256
micro_batch_tokens: 4096
num_train_epochs: 1
seed: 0
save_steps: 50
save_total_limit: 3
eval_steps: 10
generate_samples: { prompts: 4, every: 50, max_new_tokens: 256 }
engine: onnx
output_dir: runs/my-run
`

test("the contract's example is a config, in YAML, JSON and TypeScript", async () => {
  const yaml = await loadConfig(written("example.yaml", EXAMPLE))
  expect(yaml.learning_rate).toBe(5e-5)
  const json = await loadConfig(written("example.json", JSON.stringify(yaml)))
  expect(json).toEqual(yaml)
  const source = `import { defineConfig } from "dftune"\nconst config: object = ${JSON.stringify(yaml)}\nexport default defineConfig(config as never)\n`
  expect(await loadConfig(written("example.ts", source))).toEqual(yaml)
})

test("what is wrong is named by file, line, column and key, all at once", async () => {
  const text = `model: m
learning_rat: 3
use_dft_loss: true
data:
  train:
    - { path: a.jsonl, wieght: 2 }
    - path: 3
    - { pth: b.jsonl }
  format: message
  max_length: "abc"
objective: { name: dft, weight_floor: 2 }
engine: { name: torch, device: cpu }
`
  expect((await complaints("wrong.yaml", text)).sort()).toEqual([
    'FILE:10:15: data.max_length: expected a number, got "abc"',
    "FILE:11:39: objective.weight_floor: expected a number of at most 1, got 2",
    'FILE:12:24: unknown key "device": engine torch cannot honour it; engine: onnx can',
    'FILE:2:1: unknown key "learning_rat"; did you mean "learning_rate"?',
    'FILE:3:1: unknown key "use_dft_loss"; write objective: dft',
    'FILE:6:24: unknown key "wieght"; did you mean "weight"?',
    "FILE:7:13: data.train[1].path: expected text, got 3",
    "FILE:8:7: data.train[2].path: missing: expected text",
    'FILE:8:9: unknown key "pth"; did you mean "path"?',
    'FILE:9:11: data.format: expected one of "auto", "messages", "prompt-completion", "alpaca", "sharegpt", "problem-solution", "text", "preference", "unpaired", got "message"; did you mean "messages"?',
  ])
  const one =
    "model: m\ndata:\n  train: { path: a.jsonl, noise: { kind: wrong, share: 2 } }\n  eval: { pth: b }\n"
  expect((await complaints("one.yaml", one)).sort()).toEqual([
    'FILE:3:42: data.train.noise.kind: expected one of "wrong-answers", "wrong-steps", "swapped-labels", got "wrong"',
    "FILE:3:56: data.train.noise.share: expected a number of at most 1, got 2",
    'FILE:4:11: unknown key "pth"; did you mean "path"?',
    "FILE:4:9: data.eval.path: missing: expected text",
  ])
})

test.each([
  ["quantization: int8", /^FILE:\d+:\d+: quantization: int8 .* needs an adapter/],
  ["objective: dtf", /unknown objective "dtf"; did you mean "dft"\?/],
  ["micro_batch_tokens: 10", /micro_batch_tokens: 10 cannot hold one row/],
  ["max_steps: 4\nnum_train_epochs: 3", /give max_steps or num_train_epochs, not both/],
  [
    "engine: torch\nadapter: {}\nquantization: int4",
    /engine torch cannot honour quantization: int4; engine: onnx can/,
  ],
  [
    "engine: { name: torch, nproc_per_node: 3, context_parallel: 2 }",
    /FILE:3:61: engine.context_parallel: expected a number that divides the 3 processes .*got 2/,
  ],
  [
    "objective: { name: dft, weight_floor: 0.9, weight_ceiling: 0.5 }",
    /0.9 is above weight_ceiling 0.5/,
  ],
  ["objective: { name: dft, ramp: { start: 0.5, end: 0.1 } }", /start 0.5 is after end 0.1/],
  [
    "objective: { name: threshold, tau: [1] }",
    /objective.tau: expected a number, true, false or text, got a list of 1/,
  ],
  [
    "objective: { name: focal, gamma: 3 }",
    /FILE:3:27: unknown key "gamma"; did you mean "g"\? focal takes g/,
  ],
  [
    "objective: { name: power, a: 200 }",
    /FILE:3:30: objective.a: expected a number from 0 to 100 .*got 200/,
  ],
  [
    "objective: { name: sft, keep_special: true }",
    /FILE:3:39: objective.keep_special: does not fit sft/,
  ],
  ["objective: { name: dft, normalization: token }", /FILE:.*did you mean "tokens"\?/],
  [
    "objective: { name: mine, expression: { version: 1, nodes: [{ op: input, name: logp }], output: 0 }, a: 1 }",
    /takes no parameters/,
  ],
  ["objective: distill", /FILE:3:12: objective: distill learns from another model; name one/],
  ["rollout: { num_generations: 4 }", /^FILE:3:1: .*dft trains on rows as they are/],
  ["wandb_api_key: abcdef", /^FILE:3:1: wandb_api_key: a key stands here.*WANDB_API_KEY/],
  ["hub_token: hunter2", /^FILE:3:1: hub_token: a key stands here/],
  ["dtype: hf_abcdefghijABCDEFGHIJ0123456789abcd", /^FILE:3:8: dtype: this looks like a key to a/],
  [
    "rollout: { source: { url: 'http://me:pw@host' } }",
    /^FILE:3:\d+: rollout.source.url: this address holds/,
  ],
  ["report_to: [tensorbord]", /FILE:3:.*report_to.*"tensorboard"/],
  ["engine: nnx", /engine: expected .*"onnx"/],
  ["engine: { name: onx }", /engine.name: expected "onnx" or "torch"/],
  ["report_to: all", /report_to\[0\]: expected .*, got "all"/],
  ["learning_rate: .nan", /learning_rate: expected a number, got NaN/],
  ["max_steps: 1e30", /at most 1099511627776, got 1e\+30/],
  ["seed: -1", /seed: expected a number of at least 0, got -1/],
  ["data: 3", /data: expected a mapping, got 3/],
  ["model: { a: 1 }", /model: expected text, got a mapping/],
])("%s is refused", async (line, expected) => {
  const keys = line.split("\n").map((entry) => entry.split(":")[0])
  const base = ["model: m", "data: { train: [a.jsonl] }"].filter(
    (entry) => !keys.includes(entry.split(":")[0]!),
  )
  const said = await complaints("one.yaml", [...base, line, ""].join("\n"))
  expect(said.join("\n")).toMatch(expected)
})

test("damaged files name the place", async () => {
  expect(await complaints("damaged.json", '{\n  "model": "x",,\n}')).toEqual([
    "FILE: expected JSON, got , at line 2, column 16, where JSON has a key in double quotes",
  ])
  expect(await complaints("comma.json", '{\n  "model": "x",\n}')).toEqual([
    "FILE: expected JSON, got } behind a comma at line 3, column 1, where JSON has a key in double quotes",
  ])
  expect(await complaints("double.json", '{ "model": "a", "model": "b" }')).toEqual([
    'FILE:1:17: the key "model" is there twice, first in line 1; keep one',
  ])
  expect(await complaints("damaged.yaml", "model: [a\nb: c\n")).toEqual([
    "FILE:1:8: [ has no ] that closes it before line 2",
  ])
  expect(await complaints("double.yaml", "model: a\nmodel: b\n")).toEqual([
    'FILE:2:1: the key "model" is there twice, first in line 1; keep one',
  ])
  const nothing = ["FILE: expected keys and values, got nothing"]
  expect(await complaints("empty.yaml", "")).toEqual(nothing)
  expect(await complaints("empty.json", "")).toEqual(nothing)
  expect(await complaints("remarks.yaml", "# model: a\n")).toEqual(nothing)
  expect(await complaints("list.yaml", "- 1\n")).toEqual([
    "FILE:1:1: expected keys and values, got a list of 1",
  ])
  const utf16 = Buffer.from("\uFEFFmodel: a\n", "utf16le")
  expect(await complaints("powershell.yaml", utf16)).toEqual([
    "FILE: expected UTF-8 text, got UTF-16 or UTF-32 (it begins with FF FE); save it as UTF-8",
  ])
  expect(await complaints("config.toml", "")).toEqual([
    expect.stringMatching(/expected a config: .yaml/),
  ])
  expect(await complaints("throws.ts", "throw new Error('no')")).toEqual([
    expect.stringMatching(/^FILE: could not be loaded: no/),
  ])
  expect(await complaints("nothing.ts", "export const a = 1")).toEqual([
    expect.stringMatching(/no default export/),
  ])
  await expect(loadConfig(join(folder, "absent.yaml"))).rejects.toThrow(/no such config/)
})

test("aliases cannot blow a small file up", async () => {
  const bomb = ["a: &a [x,x,x,x,x,x,x,x,x]"]
  for (let i = 1; i < 12; i++) {
    const names = "abcdefghijklmnop"
    bomb.push(
      `${names[i]}: &${names[i]} [${Array(9)
        .fill(`*${names[i - 1]}`)
        .join(",")}]`,
    )
  }
  expect((await complaints("bomb.yaml", bomb.join("\n")))[0]).toBe(
    "FILE: what its references (*name) repeat is too large; write it out",
  )
})

test("a study is told as one, and a glob behind --set is a text", async () => {
  expect(await complaints("study.yaml", "config: a.yaml\naxes: { seed: [1] }\n")).toEqual([
    "FILE: is a study, not a config; dftune study FILE runs it",
  ])
  const path = written("glob.yaml", "model: m\ndata: { train: [a.jsonl] }\n")
  const { data } = await loadConfig(path, { set: ["data.train=*.jsonl"] })
  expect(data.train[0]!.path).toMatch(/\*\.jsonl$/)
  await expect(loadConfig(path, { set: ["data.train=[a"] })).rejects.toThrow(
    "--set data.train=[a: [ has no ] that closes it",
  )
})

test("--set reaches into lists and short forms, and is named when it is wrong", async () => {
  const path = written("set.yaml", "model: m\ndata: { train: [a.jsonl] }\nengine: onnx\n")
  const set = [
    "data.train.0.max_rows=5",
    "engine.threads=2",
    "objective.weight_floor=0.1",
    "adapter={r: 4}",
    "save_total_limit=null",
  ]
  const config = await loadConfig(path, { set })
  expect(config.data.train[0]).toMatchObject({ path: "a.jsonl", max_rows: 5 })
  expect(config.engine).toMatchObject({ name: "onnx", threads: 2 })
  expect(config.objective).toMatchObject({ name: "dft", weight_floor: 0.1 })
  expect(config.adapter).toMatchObject({ r: 4 })
  expect(config.save_total_limit).toBeNull()
  const text = "model: m\ndata: { train: [a.jsonl] }\n"
  expect(await complaints("s.yaml", text, ["seed=x"])).toEqual([
    '--set seed=x: seed: expected a number, got "x"',
  ])
  expect(await complaints("s.yaml", text, ["sed=1"])).toEqual([
    '--set sed=1: unknown key "sed"; did you mean "seed"?',
  ])
  expect(await complaints("s.yaml", text, ["seed"])).toEqual([
    "--set seed: expected key.path=value",
  ])
  expect(await complaints("s.yaml", text, ["data.train.7.path=x"])).toEqual([
    expect.stringMatching(/from 0 to 1, got "7"/),
  ])
  expect(await complaints("s.yaml", text, ["__proto__.x=1"])).toEqual([
    expect.stringMatching(/not a key path/),
  ])
})

test("files beside the config are found from anywhere", async () => {
  written("beside.jsonl", "{}")
  const config = await loadConfig(
    written("near.yaml", "model: m\ndata: { train: [beside.jsonl, 'org/set'] }\n"),
  )
  expect(config.data.train.map(({ path }) => path)).toEqual([
    join(folder, "beside.jsonl"),
    "org/set",
  ])
})

interface SchemaNode {
  readonly description?: string
  readonly properties?: Readonly<Record<string, SchemaNode>>
  readonly anyOf?: readonly SchemaNode[]
  readonly oneOf?: readonly SchemaNode[]
  readonly items?: SchemaNode
}

test("the JSON Schema describes every key", () => {
  const bare: string[] = []
  let keys = 0
  const walk = (node: SchemaNode, path: string): void => {
    for (const [key, property] of Object.entries(node.properties ?? {})) {
      keys++
      const constant = "const" in property
      if (!property.description && !constant && !path.includes("expression"))
        bare.push(`${path}.${key}`)
      walk(property, `${path}.${key}`)
    }
    for (const branch of [...(node.anyOf ?? []), ...(node.oneOf ?? [])]) walk(branch, path)
    if (node.items !== undefined) walk(node.items, `${path}[]`)
  }
  walk(configJsonSchema() as SchemaNode, "")
  expect(keys).toBeGreaterThan(60)
  expect(bare).toEqual([])
})

test("every objective's name is accepted, with its parameters written out", () => {
  for (const name of OBJECTIVES) {
    const teacher = name === "distill" ? { teacher: "model" } : {}
    expect(parseConfig({ ...minimal, objective: name, ...teacher }).objective.name).toBe(name)
  }
  expect(parseConfig({ ...minimal, objective: "focal" }).objective).toMatchObject({ g: 2 })
})

test.each([
  ["adamw_torch", "adamw"],
  ["adamw_bnb_8bit", "adamw-8bit"],
  ["paged_adamw_32bit", "adamw"],
  ["lion_32bit", "lion"],
])("the optimizer that Transformers calls %s is %s", (theirs, ours) => {
  expect(parseConfig({ ...minimal, optimizer: theirs }).optimizer).toBe(ours)
  expect(() => parseConfig({ ...minimal, optimizer: "lion_8bit" })).toThrow(
    /optimizer: expected one of "adamw"/,
  )
})

test("keys that ask for nothing change nothing", () => {
  const idle = { rollout: null, reference: null, report_to: [], model_tokens: [] }
  expect(parseConfig({ ...minimal, ...idle })).toEqual(parseConfig(minimal))
})

test("the JSON Schema knows each objective's parameters, and no objective that nothing trains", () => {
  const { properties } = configJsonSchema() as unknown as SchemaNode
  const branches = properties!.objective!.anyOf!
  const named = (name: string) =>
    branches.find(({ properties }) => (properties?.name as { const?: string })?.const === name)
  expect(Object.keys(named("focal")!.properties!)).toContain("g")
  expect(Object.keys(named("sft")!.properties!)).not.toContain("keep_special")
  expect(named("prefix-rft")).toBeDefined()
})

test("no input makes the check crash: it passes, or complains in words", () => {
  fc.assert(
    fc.property(
      fc.object({
        key: fc.constantFrom("model", "data", "train", "path", "engine", "name", "objective", "x"),
      }),
      (input) => {
        try {
          parseConfig(input)
        } catch (error) {
          expect(error).toBeInstanceOf(InputError)
          expect((error as Error).message.length).toBeGreaterThan(5)
        }
      },
    ),
    { numRuns: 300 },
  )
})

test("paths that begin with ~/ lie in the user's own folder, wherever a config names one", async () => {
  const text = `model: ~/m
data: { train: [~/rows.jsonl], eval: [~/*.jsonl] }
adapter: { path: ~/a }
output_dir: ~/runs/x`
  const config = await loadConfig(written("home.yaml", text), { set: ["resume=~/r"] })
  const home = (path: string) => join(homedir(), path)
  expect(config).toMatchObject({
    model: home("m"),
    data: { train: [{ path: home("rows.jsonl") }], eval: [{ path: home("*.jsonl") }] },
    adapter: { path: home("a") },
    output_dir: home("runs/x"),
    resume: home("r"),
  })
  expect(
    await complaints("twice.yaml", "model: m\ndata: { train: [a.jsonl] }\nseed: 1e30"),
  ).toEqual([expect.stringMatching(/at most 4294967295/)])
})

test("short forms and quoted numbers are taken", () => {
  const config = parseConfig({
    model: "m",
    adapter: "lora",
    data: { train: "a.jsonl", eval: "b.jsonl", packing: "false", max_length: "512" },
    batch_size: "8",
    learning_rate: "1e-4",
    max_steps: "7",
    engine: { name: "onnx", threads: "2" },
    save_total_limit: "2",
    warmup_steps: 3,
  })
  expect(config).toMatchObject({
    adapter: { type: "lora", r: 8 },
    data: { train: [{ path: "a.jsonl" }], eval: [{ path: "b.jsonl" }], packing: false },
    batch_size: 8,
    learning_rate: 1e-4,
    max_steps: 7,
    engine: { threads: 2 },
    save_total_limit: 2,
    warmup_steps: 3,
  })
  expect(config.data.max_length).toBe(512)
  expect(parseConfig({ ...minimal, model: "7" }).model).toBe("7")
  expect(() => parseConfig({ ...minimal, seed: "-1" })).toThrow(
    /seed: expected a number of at least 0/,
  )
})

test.each([
  [
    { per_device_train_batch_size: 4, gradient_accumulation_steps: 8 },
    /write batch_size: 32 \(4 x 8/,
  ],
  [{ load_in_4bit: true }, /write quantization: int4/],
  [{ load_in_4bit: false }, /leave it out/],
  [{ max_seq_length: 1024 }, /write it under data: max_length: 1024/],
  [{ lora_r: 16 }, /write adapter: \{ type: lora, r: 16 \}/],
  [{ num_epochs: 2 }, /write num_train_epochs: 2/],
  [{ dataset_text_field: "body" }, /write data: \{ columns: \{ text: body \} \}/],
  [{ max_samples: 100 }, /data: \{ train: \{ path: ..., max_rows: 100 \} \}/],
  [{ dataset_num_proc: 8 }, /write nothing: rows are prepared once/],
  [{ lora_target_linear: true }, /target_modules: all-linear/],
  [{ adapter_name_or_path: "a" }, /write it under adapter: path: a/],
  [
    { cosine_min_lr_ratio: 0.1 },
    /cosine_with_min_lr and lr_scheduler_kwargs: \{ min_lr_rate: 0.1 \}/,
  ],
  [{ evals_per_epoch: 4 }, /write eval_steps: with a number of steps \(those of an epoch over 4/],
  [{ run_name: "a" }, /write output_dir: runs\/a/],
  [{ push_to_hub: true }, /dftune export RUN --to hub/],
  [{ pref_loss: "ipo" }, /write objective: \{ name: dpo, loss: ipo \}/],
  [{ num_generations: 8 }, /write it under rollout: num_generations: 8/],
  [{ trust_remote_code: true }, /code in a model folder is never run/],
  [{ hasOwnProperty: 1 }, /unknown key/],
])("another trainer's keys %o are named with the line to write", (keys, line) => {
  expect(() => parseConfig({ ...minimal, ...keys })).toThrow(line)
})
