/** What reads strangers' files, and a right file of each kind. Runs in a process of its own. */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { gzipSync } from "node:zlib"
import { loadConfig } from "../src/config/index.ts"
import { openPrepared } from "../src/data/index.ts"
import { rawRows, rowFileKind } from "../src/data/row-files.ts"
import { readRow } from "../src/data/rows/index.ts"
import { exportModel } from "../src/export/index.ts"
import { openGguf, openSafetensors } from "../src/formats/index.ts"
import { expectObject, parseJson } from "../src/formats/json.ts"
import { openSampleFile } from "../src/generate/sample-file.ts"
import { findModel, openWeights, readAdapter, readModelConfig } from "../src/models/files/index.ts"
import { dequantized } from "../src/models/files/quantized-checkpoint.ts"
import { objectiveFromConfig, objectiveToJson } from "../src/objectives/index.ts"
import { importConfig } from "../src/peers/import-config.ts"
import { reportHtml } from "../src/report/run-page.ts"
import { summarizeRuns } from "../src/report/run-summary.ts"
import { readRun } from "../src/run/run-folder.ts"
import { loadChatTemplate, loadTokenizer } from "../src/text/index.ts"
import { readState } from "../src/train/checkpoint.ts"
import { tinyModel } from "../test/train/tiny-model.ts"
import { mutatedBytes, mutatedJson, mutatedJsonFile } from "./mutate.ts"
import type { Draw } from "./random.ts"

/** Writes a mutant and reads it as a user's command would. */
export type Target = (draw: Draw) => Promise<void> | void

const REPO = fileURLToPath(new URL("..", import.meta.url))
const golden = (name: string) => join(REPO, "golden", name)

/** A file of a folder, mutated, with the others as they are. */
function fileOf(folder: string, name: string, read: () => Promise<void> | void): Target {
  const path = join(folder, name)
  const base = readFileSync(path)
  const value: unknown = name.endsWith(".json") ? JSON.parse(base.toString("utf8")) : undefined
  return (draw) => {
    writeFileSync(
      path,
      value === undefined ? mutatedBytes(base, draw) : mutatedJsonFile(base, value, draw),
    )
    return read()
  }
}

function copied(from: string, work: string, name: string): string {
  const to = join(work, name)
  mkdirSync(to, { recursive: true })
  cpSync(from, to, { recursive: true })
  return to
}

async function all(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of rows) {
    // read to the end
  }
}

const CONVERSATION = [
  { role: "system", content: "s" },
  { role: "user", content: "hi" },
  { role: "assistant", content: "yes" },
]

const ROWS: readonly unknown[] = [
  { messages: CONVERSATION },
  { prompt: "1+1=", completion: "2", weight: 0.5 },
  { instruction: "add", input: "1", output: "2", history: [["a", "b"]] },
  {
    conversations: [
      { from: "human", value: "x" },
      { from: "gpt", value: "y" },
    ],
  },
  { problem: "p", solution: "s" },
  { text: "plain" },
]
const PAIR = { prompt: "p", chosen: "c", rejected: "r" }

export const TARGETS: Readonly<Record<string, (work: string) => Target>> = {
  safetensors(work) {
    const base = readFileSync(golden("models/qwen3/model.safetensors"))
    const header = Number(base.readBigUInt64LE(0))
    const value: unknown = JSON.parse(base.subarray(8, 8 + header).toString("utf8"))
    const path = join(work, "m.safetensors")
    return async (draw) => {
      let bytes = mutatedBytes(base, draw, header + 60)
      if (draw() < 0.6) {
        const json = Buffer.from(JSON.stringify(mutatedJson(value, draw)) ?? "null")
        const length = Buffer.alloc(8)
        length.writeBigUInt64LE(BigInt(json.length))
        bytes = Buffer.concat([length, json, base.subarray(8 + header)])
      }
      writeFileSync(path, bytes)
      const reader = await openSafetensors(path)
      try {
        for (const [name, { dtype }] of reader.tensors) {
          await reader.read(name)
          if (/^(F32|F16|BF16)$/.test(dtype)) await reader.readFloat32(name)
        }
      } finally {
        await reader.close()
      }
    }
  },
  "config.json"(work) {
    const folder = copied(golden("models/qwen2"), work, "m")
    return fileOf(folder, "config.json", async () => void (await readModelConfig(folder)))
  },
  "dftune.yaml"(work) {
    const path = join(work, "dftune.yaml")
    const value = { model: "m", data: { train: [{ path: "a.jsonl" }] }, objective: { name: "dft" } }
    const more = { ...value, adapter: { r: 8 }, learning_rate: 1e-4, engine: { name: "onnx" } }
    const base = Buffer.from(JSON.stringify(more, null, 1))
    return async (draw) => {
      writeFileSync(path, mutatedJsonFile(base, more, draw))
      await loadConfig(path)
    }
  },
  "tokenizer.json"(work) {
    const folder = draw0(work)
    return fileOf(folder, "tokenizer.json", async () => {
      const tokenizer = await loadTokenizer(folder)
      const ids = tokenizer.encode("once upon a time, 12+34=46\n", { addSpecialTokens: true })
      tokenizer.decode(ids)
      for (const id of ids) tokenizer.tokenText(id)
    })
  },
  "tokenizer_config.json"(work) {
    const folder = copied(golden("0.1.0/model"), work, "t")
    return fileOf(folder, "tokenizer_config.json", async () => {
      await loadTokenizer(folder)
      const template = await loadChatTemplate(folder)
      template?.renderWithSpans(CONVERSATION)
    })
  },
  template(work) {
    const folder = copied(golden("0.1.0/model"), work, "j")
    const path = join(folder, "chat_template.jinja")
    const base =
      "{% set ns = namespace(x='') %}{% for m in messages %}{% set ns.x = ns.x ~ m.content %}" +
      "{{ m.role | trim | replace('a', 'b') }}: {{ m.content | tojson(indent=2) }}{{ eos_token }}" +
      "{% if loop.last %}{{ range(3) | list | join(', ') }}{% endif %}{% endfor %}{{ ns.x }}"
    const parts = base.split(/(\{[%{].*?[%}]\})/)
    const growing = [
      "{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x ~ 'ab' %}{% endfor %}",
      "{% for i in range(40) %}{% set ns.x = ns.x | replace('a', 'aaaa') %}{% endfor %}",
      "{{ 'x' * 1000000000 }}",
      "{% for i in range(99999) %}{% for k in range(99999) %}x{% endfor %}{% endfor %}",
      "{{ range(100000000) | list | length }}",
      "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('a') }}",
      "{{ messages | tojson(indent=99999999) }}",
    ]
    return async (draw) => {
      const mutated = [...parts]
      for (let n = 1 + draw.whole(3); n > 0; n--) {
        mutated.splice(draw.whole(mutated.length), draw.whole(2), draw.of([...parts, ...growing]))
      }
      const text = mutated.join("")
      writeFileSync(path, draw() < 0.6 ? text : mutatedBytes(Buffer.from(text), draw))
      const template = await loadChatTemplate(folder)
      template?.renderWithSpans(CONVERSATION)
    }
  },
  quantized(work) {
    const names = readdirSync(golden("quantized"))
    return async (draw) => {
      const path = join(work, "q.safetensors")
      const base = readFileSync(golden(`quantized/${draw.of(names)}`))
      writeFileSync(path, mutatedBytes(base, draw, 1500))
      const reader = await openSafetensors(path)
      try {
        const config = expectObject(parseJson(reader.metadata.config ?? "{}", path), path)
        const parameters = [{ name: "m.weight", shape: [16, 128] }]
        const read = dequantized(reader, config, parameters, path)
        if (read.tensors.has("m.weight")) await read.readFloat32("m.weight")
      } finally {
        await reader.close()
      }
    }
  },
  "gguf model"(work) {
    const path = join(work, "model.gguf")
    process.env.DFTUNE_CACHE = join(work, "cache") // runs in a process of its own
    let base: Buffer | undefined
    return async (draw) => {
      base ??= await ggufBytes(work)
      writeFileSync(path, mutatedBytes(base, draw, 6000))
      const folder = await findModel(path)
      const read = await openWeights(folder)
      await loadTokenizer(folder)
      await read.close()
    }
  },
  gguf(work) {
    const path = join(work, "m.gguf")
    const base = readFileSync(golden("gguf/reference.gguf"))
    return async (draw) => {
      writeFileSync(path, mutatedBytes(base, draw, 4000))
      const reader = await openGguf(path)
      try {
        for (const name of reader.tensors.keys()) await reader.readFloat32(name)
      } finally {
        await reader.close()
      }
    }
  },
  parquet(work) {
    const path = join(work, "rows.parquet")
    const base = readFileSync(join(REPO, "test/data/messages.parquet"))
    return async (draw) => {
      writeFileSync(path, mutatedBytes(base, draw))
      await all(rawRows(path, "parquet"))
    }
  },
  "row files"(work) {
    const lines = ROWS.map((row) => JSON.stringify(row)).join("\n")
    const bases: Readonly<Record<string, Buffer>> = {
      "a.jsonl": Buffer.from(`${lines}\n`),
      "a.json": Buffer.from(JSON.stringify({ data: ROWS })),
      "a.csv": Buffer.from('prompt,completion\n"1+1=",2\n"a ""b""",c\n'),
      "a.jsonl.gz": gzipSync(lines),
      "a.jsonl.zst": zstandard(lines),
    }
    return async (draw) => {
      const name = draw.of(Object.keys(bases))
      const path = join(work, name)
      writeFileSync(path, mutatedBytes(bases[name]!, draw))
      await all(rawRows(path, rowFileKind(path)!))
    }
  },
  rows() {
    return (draw) => {
      const pair = draw() < 0.2
      const row = mutatedJson(pair ? PAIR : draw.of(ROWS), draw)
      const purpose = pair ? "preference" : "supervised"
      readRow(row, { format: "auto", purpose, where: "a.jsonl:1" })
    }
  },
  adapter(work) {
    const folder = copied(golden("models/llama/adapter"), work, "a")
    const model = copied(golden("models/llama"), work, "base")
    const config = fileOf(folder, "adapter_config.json", () => read())
    const weights = fileOf(folder, "adapter_model.safetensors", () => read())
    const right = Object.fromEntries(
      ["adapter_config.json", "adapter_model.safetensors"].map((name) => [
        name,
        readFileSync(join(folder, name)),
      ]),
    )
    const read = async () => {
      const { shape } = await readModelConfig(model)
      await readAdapter(folder, shape)
    }
    return (draw) => {
      for (const [name, bytes] of Object.entries(right)) writeFileSync(join(folder, name), bytes)
      return draw() < 0.6 ? config(draw) : weights(draw)
    }
  },
  "run folder"(work) {
    const folder = copied(golden("0.1.0/full"), work, "run")
    const path = join(folder, "events.jsonl")
    const lines = readFileSync(path, "utf8").trim().split("\n")
    const events = lines.map((line) => JSON.parse(line) as unknown)
    const read = () => void reportHtml(summarizeRuns([readRun(folder)]))
    const config = fileOf(folder, "config.json", read)
    const right = readFileSync(join(folder, "config.json"))
    return (draw) => {
      if (draw() < 0.2) return config(draw)
      writeFileSync(join(folder, "config.json"), right)
      const mutated = [...lines]
      const at = draw.whole(lines.length)
      mutated[at] = JSON.stringify(mutatedJson(events[at], draw)) ?? "null"
      const text = `${mutated.join("\n")}\n`
      writeFileSync(path, draw() < 0.7 ? text : mutatedBytes(Buffer.from(text), draw))
      return read()
    }
  },
  "trainer.json"(work) {
    const folder = copied(golden("0.1.0/full/checkpoints/step-000003"), work, "step-000003")
    return fileOf(folder, "trainer.json", async () => void (await readState(folder)))
  },
  prepared(work) {
    const [name] = readdirSync(golden("0.1.0/cache/prepared"))
    const folder = copied(join(golden("0.1.0/cache/prepared"), name!), work, "prepared")
    const names = ["manifest.json", "shard-00000.safetensors"] as const
    const right = names.map((file) => [file, readFileSync(join(folder, file))] as const)
    const read = async () => {
      const prepared = await openPrepared(folder)
      try {
        for (let row = 0; row < prepared.rows; row++) prepared.row(row)
      } finally {
        prepared.close()
      }
    }
    const targets = names.map((file) => fileOf(folder, file, read))
    return (draw) => {
      for (const [file, bytes] of right) writeFileSync(join(folder, file), bytes)
      return draw.of(targets)(draw)
    }
  },
  samples(work) {
    const path = join(work, "samples.jsonl")
    const rows = [{ where: "p:1", fields: { prompt: "a" }, prompt: "a" }]
    const sample = { prompt: "a", completion: "b", token_ids: [1], logprobs: [-1], seed: 0 }
    const base = Buffer.from(`${JSON.stringify({ ...sample, finish_reason: "stop" })}\n`)
    return async (draw) => {
      writeFileSync(path, mutatedBytes(base, draw))
      const file = await openSampleFile(path, { rows, n: 1, seed: 0 })
      file.close()
    }
  },
  objective() {
    const names = ["dft", "power", "mix", "focal", "psft", "eaft", "dpo", "asft"]
    const bases = names.map((name) => objectiveToJson(objectiveFromConfig(name)))
    return (draw) => {
      const base = draw.of(bases)
      const settings = { name: "mine", expression: mutatedJson(base, draw) }
      objectiveFromConfig(settings as never)
    }
  },
  peers() {
    const texts = {
      "a.yaml":
        "base_model: m\ndatasets:\n  - path: d.jsonl\n    type: alpaca\nlearning_rate: 1e-4\n",
      "b.yaml": "model_name_or_path: m\nstage: sft\nfinetuning_type: lora\ndataset: d\n",
      "c.py": "SFTConfig(learning_rate=1e-4, output_dir='o')\nSFTTrainer(model='m')\n",
    }
    return (draw) => {
      const file = draw.of(Object.keys(texts)) as keyof typeof texts
      importConfig(mutatedBytes(Buffer.from(texts[file]), draw).toString("utf8"), { file })
    }
  },
}

/** A folder with a model and its tokenizer. */
/** The tiny model as a GGUF file. */
async function ggufBytes(work: string): Promise<Buffer> {
  const model = join(work, "for-gguf")
  mkdirSync(model, { recursive: true })
  tinyModel(model)
  const out = join(work, "as-gguf")
  const { files } = await exportModel(model, { to: "gguf", out, preTokenizer: "gpt-2" })
  return readFileSync(join(out, files[0]!.file))
}

function draw0(work: string): string {
  return tinyModel(work)
}

/** A zstd frame of one raw block: there is no compressor on every Node. */
function zstandard(text: string): Buffer {
  const content = Buffer.from(text)
  const frame = Buffer.alloc(4 + 1 + 4 + 3)
  frame.writeUInt32LE(0xfd2fb528, 0)
  frame[4] = 0b1010_0000 // single segment, four bytes of content size
  frame.writeUInt32LE(content.length, 5)
  frame.writeUIntLE((content.length << 3) | 1, 9, 3) // last block, raw
  return Buffer.concat([frame, content])
}
