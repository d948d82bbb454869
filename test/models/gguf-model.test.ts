import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { exportModel } from "../../src/export/index.ts"
import {
  float32ToBf16,
  type GgufMetadata,
  type GgufTensor,
  openGguf,
  type WrittenGgufType,
  writeGguf,
} from "../../src/formats/index.ts"
import { findModel, openWeights } from "../../src/models/files/index.ts"
import { loadChatTemplate, loadTokenizer } from "../../src/text/index.ts"
import { exportable } from "../export/golden-gguf.ts"
import { goldenModel, newFolder } from "../export/models.ts"

const cache = mkdtempSync(join(tmpdir(), "dftune-gguf-cache-"))
const before = process.env.DFTUNE_CACHE
beforeAll(() => {
  process.env.DFTUNE_CACHE = cache
})
afterAll(() => {
  if (before === undefined) delete process.env.DFTUNE_CACHE
  else process.env.DFTUNE_CACHE = before
  rmSync(cache, { recursive: true, force: true })
})

async function asGguf(model: string): Promise<string> {
  const out = join(newFolder(), "out")
  const { files } = await exportModel(model, { to: "gguf", out })
  return join(out, files[0]!.file)
}

test.each(exportable)("%s: read from its GGUF file it is the same model", async (name) => {
  const model = goldenModel(name)
  const file = await asGguf(model)
  const folder = await findModel(file)
  const [meant, read] = [await openWeights(model), await openWeights(folder)]
  const shapeOf = ({ config }: typeof read) => {
    const { layers, rmsNormEps, modelType: _, ...shape } = config.shape
    return { ...shape, rmsNormEps: Math.fround(rmsNormEps), layers }
  }
  // GGUF says nothing of dynamic scaling, which the export tells; Mistral is Llama's architecture.
  if (name !== "llama-dynamic")
    expect(singles(shapeOf(read))).toMatchObject(singles(shapeOf(meant)))
  for (const { name, shape } of meant.parameters) {
    const [values, own] = [await read.read(name), await meant.read(name)]
    // Norms that are stored with 1 added lose what a float32 near 1 cannot hold.
    const lost = /^gemma/.test(read.config.modelType) && /norm\.weight$/.test(name) ? 2 ** -23 : 0
    expect(Math.max(...values.map((x, i) => Math.abs(x - own[i]!))), name).toBeLessThanOrEqual(lost)
    if (name !== "model.embed_tokens.weight") continue
    const rows = new Float32Array(2 * shape[1]!)
    await read.readRows(name, 3, rows)
    expect(rows).toEqual(own.slice(3 * shape[1]!, 5 * shape[1]!))
  }
  await Promise.all([meant.close(), read.close()])
  const [ours, theirs] = [await loadTokenizer(folder), await loadTokenizer(model)]
  for (const text of ["abc", "</s>a b", ""]) expect(ours.encode(text)).toEqual(theirs.encode(text))
  const template = await loadChatTemplate(folder)
  expect(template?.source).toBe((await loadChatTemplate(model))?.source)
})

/** Numbers as a float32 holds them, as they lie in a file. */
function singles<T>(value: T): T {
  const round = (_: string, x: unknown) => (typeof x === "number" ? Math.fround(x) : x)
  return JSON.parse(JSON.stringify(value, round)) as T
}

interface Damage {
  readonly metadata?: (metadata: Map<string, never>) => void
  readonly tensors?: (tensors: GgufTensor[]) => GgufTensor[]
}

/** The qwen2 golden model's file, changed. */
async function damaged({ metadata, tensors = (all) => all }: Damage): Promise<string> {
  const file = await openGguf(await asGguf(goldenModel("qwen2")))
  const all = [...file.tensors].map(([name, { type, shape }]): GgufTensor => {
    const values = () => file.readFloat32(name)
    return { name, type: type as WrittenGgufType, shape, values }
  })
  const said = new Map(file.metadata) as Map<string, never>
  metadata?.(said)
  const path = join(newFolder(), "damaged.gguf")
  await writeGguf(path, { metadata: said as GgufMetadata, tensors: tensors(all) })
  await file.close()
  return path
}

const set = (key: string, value: unknown) => (metadata: Map<string, never>) =>
  void metadata.set(key, value as never)

test.each<[string, Damage, RegExp]>([
  [
    "another architecture",
    { metadata: set("general.architecture", { kind: "string", value: "mamba" }) },
    /damaged\.gguf: expected "general\.architecture" to be one of .*qwen2.*, got mamba/,
  ],
  [
    "a missing size",
    { metadata: (all) => void all.delete("qwen2.block_count") },
    /expected metadata "qwen2\.block_count"/,
  ],
  [
    "more layers than tensors",
    { metadata: set("qwen2.block_count", { kind: "uint32", value: 9 }) },
    /metadata says block_count: 9, and the checkpoint has tensors of \d \(the last is blk\.\d\)/,
  ],
  [
    "a wider block than tensors",
    { metadata: set("qwen2.feed_forward_length", { kind: "uint32", value: 2 ** 20 }) },
    /missing or of another shape: "blk\.\d\./,
  ],
  [
    "layers beyond all measure",
    { metadata: set("qwen2.block_count", { kind: "uint32", value: 2 ** 31 }) },
    /num_hidden_layers/,
  ],
  [
    "an unknown pre-tokenizer",
    { metadata: set("tokenizer.ggml.pre", { kind: "string", value: "x" }) },
    /expected "tokenizer\.ggml\.pre" to be one of .*, got x/,
  ],
  [
    "no vocabulary",
    { metadata: (all) => void all.delete("tokenizer.ggml.tokens") },
    /expected "tokenizer\.ggml\.tokens"/,
  ],
  [
    "an end that is no token",
    { metadata: set("tokenizer.ggml.eos_token_id", { kind: "uint32", value: 9e6 }) },
    /expected "tokenizer\.ggml\.eos_token_id" below \d+, got 9000000/,
  ],
  [
    "a merge of one piece",
    { metadata: set("tokenizer.ggml.merges", { kind: "array", of: "string", value: ["ab"] }) },
    /expected a merge to be two pieces, got "ab"/,
  ],
  [
    "no embedding",
    { tensors: (all) => all.filter(({ name }) => name !== "token_embd.weight") },
    /expected a tensor "token_embd\.weight"/,
  ],
  [
    "a tensor too many",
    { tensors: (all) => [...all, { ...all[0]!, name: "blk.0.extra.weight" }] },
    /unexpected tensors: "blk\.0\.extra\.weight"/,
  ],
  [
    "a tensor of another shape",
    {
      tensors: (all) =>
        all.map((each) =>
          each.name === "output_norm.weight"
            ? { ...each, shape: [1], values: async () => new Float32Array(1) }
            : each,
        ),
    },
    /missing or of another shape: "output_norm\.weight \[\d+\]"/,
  ],
])("%s is refused by name", async (_, damage, message) => {
  const path = await damaged(damage)
  const opening = findModel(path).then((folder) => openWeights(folder))
  await expect(opening).rejects.toThrow(message)
})

test("the file a model was opened from may be gone", async () => {
  const file = await asGguf(goldenModel("qwen2"))
  const folder = await findModel(file)
  rmSync(file)
  await expect(openWeights(folder)).rejects.toThrow(/no such file; the model was opened from there/)
  writeFileSync(join(folder, "gguf.json"), "{}")
  await expect(openWeights(folder)).rejects.toThrow(/expected "file", a path/)
})

const REAL = process.env.DFTUNE_REAL_MODELS ?? ""
const FILES = [
  ["smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"],
  ["gemma", "gemma-3-270m-q4_k_m.gguf"],
  ["qwen-coder", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"],
] as const
const TEXTS = [
  "Hello, world! 123 456\n\n  x = 3.14; // été 😀",
  "<|im_start|>user\nWhat's 2+2?<|im_end|>\n<start_of_turn>user\nhi<end_of_turn>\n\n\n\n",
  "   leading   spaces\t\ttabs\r\n日本語のテキスト、 don't",
]

describe.each(FILES)("%s, real weights", (name, gguf) => {
  const [file, folder] = [join(REAL, "gguf", gguf), join(REAL, name)]
  const absent = REAL === "" || !existsSync(file) || !existsSync(folder)
  const why = absent ? ` (absent: no gguf/${gguf} beside ${name} in DFTUNE_REAL_MODELS)` : ""

  test.skipIf(absent)(
    `weights, tokens and template are those that Transformers made of the file${why}`,
    async () => {
      const opened = await findModel(file)
      const [read, meant] = [await openWeights(opened), await openWeights(folder)]
      const { layers, ...shape } = read.config.shape
      expect({ ...shape, layers }).toEqual(meant.config.shape)
      for (const { name } of meant.parameters) {
        const bits = (values: Float32Array) =>
          Buffer.from(float32ToBf16(values, new Uint16Array(values.length)).buffer)
        const [ours, theirs] = [await read.read(name), await meant.read(name)]
        expect(bits(ours).equals(bits(theirs)), name).toBe(true)
      }
      const [ours, theirs] = [await loadTokenizer(opened), await loadTokenizer(folder)]
      for (const text of TEXTS) {
        const ids = theirs.encode(text, { addSpecialTokens: true })
        expect([...ours.encode(text, { addSpecialTokens: true })]).toEqual([...ids])
      }
      const template = await loadChatTemplate(opened)
      expect(template?.source).toBe((await loadChatTemplate(folder))?.source)
      await Promise.all([read.close(), meant.close()])
    },
    300_000,
  )
})
