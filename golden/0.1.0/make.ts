/**
 * Runs of dftune 0.1.0, each killed after a checkpoint, and what the same runs give uninterrupted:
 * every later version resumes and opens them (test/golden-0.1.0.test.ts).
 *
 *     git worktree add /tmp/dftune-0.1.0 5b67caa && (cd /tmp/dftune-0.1.0 && npm ci)
 *     npx tsx golden/0.1.0/make.ts /tmp/dftune-0.1.0
 *
 * All paths are relative to this folder, so that a copy of it is the same runs.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus } from "node:os"
import { join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"

const HERE = fileURLToPath(new URL(".", import.meta.url))
const [checkout, only] = process.argv.slice(2)
if (checkout === undefined) throw new Error("give the checkout of 5b67caa")
const OLD = resolve(checkout)
process.chdir(HERE)
process.env.DFTUNE_CACHE = join(HERE, "cache")

const SHARED = {
  model: "model",
  data: { train: [{ path: "rows.jsonl" }], eval: [{ path: "eval.jsonl" }], max_length: 64 },
  batch_size: 3,
  micro_batch_tokens: 96,
  learning_rate: 3e-3,
  max_steps: 8,
  save_steps: 3,
  save_total_limit: 1,
  eval_steps: 4,
  generate_samples: { prompts: 2, every: 4, max_new_tokens: 6 },
  engine: { name: "onnx", device: "cpu", threads: 1 },
}

/** Each is killed after the step `killed`, past its checkpoint. */
const RUNS = {
  full: { settings: { objective: "dft" }, killed: 5 },
  lora: {
    settings: {
      objective: { name: "sft", keep_special: false },
      adapter: { type: "lora", r: 2, lora_dropout: 0.25 },
      quantization: "int8",
    },
    killed: 4,
  },
  /** Steps 1 to 4 and 5 to 8 share an old policy: the checkpoint of step 6 is inside a window. */
  psft: { settings: { objective: { name: "psft", updates: 4 } }, killed: 7 },
} as const
type RunName = keyof typeof RUNS

const configOf = (name: RunName, output_dir: string = name) => ({
  ...SHARED,
  ...RUNS[name].settings,
  output_dir,
})

const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex")

/** Park and Miller's generator: numbers that are the same everywhere. */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48271) % 2147483647
    return state / 2147483647
  }
}

const CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789 .,+-*/=?!:\n#"
const TEMPLATE =
  "{% for message in messages %}{{ message.role + ': ' + message.content + eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"

/** A Qwen2 of 4,000 parameters whose every tensor matters, and a tokenizer of single characters. */
async function makeModel(): Promise<void> {
  mkdirSync("model", { recursive: true })
  const config = {
    architectures: ["Qwen2ForCausalLM"],
    model_type: "qwen2",
    vocab_size: 64,
    hidden_size: 16,
    intermediate_size: 20,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: "silu",
    tie_word_embeddings: true,
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: "float32",
  }
  writeFileSync("model/config.json", `${JSON.stringify(config, null, 2)}\n`)
  const shapes: [string, number[]][] = [["model.embed_tokens.weight", [64, 16]]]
  for (let layer = 0; layer < 2; layer++) {
    const at = `model.layers.${layer}`
    shapes.push(
      [`${at}.input_layernorm.weight`, [16]],
      [`${at}.self_attn.q_proj.weight`, [16, 16]],
      [`${at}.self_attn.q_proj.bias`, [16]],
      [`${at}.self_attn.k_proj.weight`, [8, 16]],
      [`${at}.self_attn.k_proj.bias`, [8]],
      [`${at}.self_attn.v_proj.weight`, [8, 16]],
      [`${at}.self_attn.v_proj.bias`, [8]],
      [`${at}.self_attn.o_proj.weight`, [16, 16]],
      [`${at}.post_attention_layernorm.weight`, [16]],
      [`${at}.mlp.gate_proj.weight`, [20, 16]],
      [`${at}.mlp.up_proj.weight`, [20, 16]],
      [`${at}.mlp.down_proj.weight`, [16, 20]],
    )
  }
  shapes.push(["model.norm.weight", [16]])
  const random = randomNumbers(20261130)
  const tensors = shapes.map(([name, shape]) => {
    const norm = name.includes("norm")
    const scale = norm ? 0.3 : name.endsWith("bias") ? 0.3 : 1.5 / Math.sqrt(shape.at(-1)!)
    const count = shape.reduce((product, dim) => product * dim, 1)
    const data = Float32Array.from({ length: count }, () => {
      return (norm ? 1 : 0) + scale * (2 * random() - 1) * Math.sqrt(3)
    })
    return { name, dtype: "F32", shape, data: new Uint8Array(data.buffer) }
  })
  const { writeSafetensors } = await import(join(OLD, "src/formats/index.ts"))
  await writeSafetensors("model/model.safetensors", tensors)

  const vocab: Record<string, number> = { "<unk>": 0, "<s>": 1, "</s>": 2 }
  for (const character of CHARACTERS) vocab[character] = Object.keys(vocab).length
  for (let id = Object.keys(vocab).length; id < 64; id++) vocab[`<unused${id}>`] = id
  const special = (id: number, content: string) => {
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false }
    return { id, content, ...plain, special: true }
  }
  const tokenizer = {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: { type: "Fuse" },
    model: { type: "BPE", dropout: null, unk_token: "<unk>", fuse_unk: false, vocab, merges: [] },
  }
  writeFileSync("model/tokenizer.json", JSON.stringify(tokenizer))
  const settings = {
    bos_token: "<s>",
    eos_token: "</s>",
    unk_token: "<unk>",
    chat_template: TEMPLATE,
  }
  writeFileSync("model/tokenizer_config.json", JSON.stringify(settings))
}

/** Sums, half of them as prompt and completion, half as a chat of two turns. */
function makeRows(): void {
  const row = (i: number) => {
    const [a, b] = [(7 * i) % 20, (13 * i + 5) % 20]
    const [prompt, completion] = [`what is ${a} + ${b}? `, `${a} + ${b} = ${a + b}.`]
    if (i % 2 === 0) return { prompt, completion }
    const messages = [
      { role: "user", content: prompt.trim() },
      { role: "assistant", content: completion },
    ]
    return { messages }
  }
  const lines = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => `${JSON.stringify(row(from + i))}\n`).join("")
  writeFileSync("rows.jsonl", lines(0, 16))
  writeFileSync("eval.jsonl", lines(16, 20))
  const prompts = [
    { prompt: "what is 1 + 2? " },
    { messages: [{ role: "user", content: "hello" }] },
  ]
  writeFileSync("prompts.jsonl", prompts.map((row) => `${JSON.stringify(row)}\n`).join(""))
}

const { parseConfig } = await import(join(OLD, "src/run/config.ts"))
const { train } = await import(join(OLD, "src/train/train.ts"))

async function runToTheEnd(name: RunName) {
  const output = `whole-${name}`
  const run = train(parseConfig(configOf(name, output)))
  const events: Record<string, unknown>[] = []
  for await (const event of run) events.push(event)
  const model = Object.fromEntries(
    readdirSync(`${output}/model`)
      .sort()
      .map((file) => [file, sha256(`${output}/model/${file}`)]),
  )
  rmSync(output, { recursive: true })
  const of = (type: string) => events.filter((event) => event.type === type)
  return {
    model,
    steps: of("step").map(({ step, loss, nll, grad_norm }) => ({ step, loss, nll, grad_norm })),
    evals: of("eval").map(({ step, name, nll }) => ({ step, name, nll })),
    samples: of("sample").map(({ step, completion }) => ({ step, completion })),
  }
}

/** The old command line, in this folder. */
function dftune(args: readonly string[], input = ""): string {
  const main = join(OLD, "src/commands/main.ts")
  const tsx = pathToFileURL(createRequire(join(OLD, "package.json")).resolve("tsx")).href
  return execFileSync(process.execPath, ["--import", tsx, main, ...args], {
    input,
    encoding: "utf8",
    stdio: ["pipe", "pipe", "ignore"],
  })
}

/** What the checkpoint of a killed run says. */
function answers(name: RunName) {
  const greedy = ["--temperature", "0", "--max-new-tokens", "8"]
  const generated = dftune(["generate", name, "--prompts", "prompts.jsonl", ...greedy])
  const lines = generated.trim().split("\n")
  return {
    generated: lines.map((line) => (JSON.parse(line) as { completion: string }).completion),
    chat: dftune(["chat", name, ...greedy], "what is 3 + 4?\n"),
  }
}

/** In a process of its own, which is killed when the run has told of the step. */
async function runAndKill(name: RunName): Promise<void> {
  const child: ChildProcess = spawn(
    process.execPath,
    ["--import", "tsx", fileURLToPath(import.meta.url), OLD, name],
    { cwd: OLD, stdio: ["ignore", "pipe", "inherit"] },
  )
  let seen = ""
  child.stdout!.on("data", (text) => {
    seen += text
    if (seen.includes(`step ${RUNS[name].killed}\n`)) child.kill("SIGKILL")
  })
  await new Promise((end) => child.on("exit", end))
  rmSync(`${name}/run.lock`, { force: true }) // of a process of this host
}

if (only !== undefined) {
  const run = train(parseConfig(configOf(only as RunName)))
  for await (const event of run) {
    if (event.type !== "step") continue
    process.stdout.write(`step ${event.step}\n`)
    // the run goes on meanwhile, and is killed within the next steps
  }
} else {
  for (const old of ["model", "cache", ...Object.keys(RUNS)])
    rmSync(old, { recursive: true, force: true })
  await makeModel()
  makeRows()
  const runs: Record<string, unknown> = {}
  for (const name of Object.keys(RUNS) as RunName[]) {
    const whole = await runToTheEnd(name)
    await runAndKill(name)
    runs[name] = { settings: configOf(name), ...whole, ...answers(name) }
  }
  const { version } = createRequire(join(OLD, "package.json"))("onnxruntime-node/package.json")
  const made = {
    commit: "5b67caa",
    node: process.version,
    onnxruntime: version,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]!.model,
  }
  writeFileSync("expected.json", `${JSON.stringify({ made, runs }, null, 1)}\n`)
}
