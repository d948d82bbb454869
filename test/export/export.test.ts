import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { type ExportOptions, exportModel } from "../../src/export/index.ts"
import { openSafetensors } from "../../src/formats/index.ts"
import { loadModel, readAdapter, saveModel, type Weights } from "../../src/models/files/index.ts"
import { type CheckpointDtype, decoderParameters, mergeAdapter } from "../../src/models/index.ts"
import { adapted as families } from "../models/golden-models.ts"
import { goldenAdapter, goldenModel, newFolder } from "./models.ts"

const place = (): string => join(newFolder(), "out")

/** A golden model stored in another dtype, with some of its values changed. */
async function stored(
  family: string,
  dtype: CheckpointDtype,
  change: (weights: Weights) => void = () => {},
): Promise<string> {
  const source = goldenModel(family)
  const { config, weights } = await loadModel(source)
  change(weights)
  const folder = join(newFolder(), family)
  mkdirSync(folder)
  const tensors = decoderParameters(config.shape).map(({ name, shape }) => {
    return { name, shape, read: async () => weights.get(name)! }
  })
  await saveModel(folder, { config, tensors, dtype, source })
  return folder
}

describe("hf", () => {
  test.each(families)("%s: the same weights, config, tokenizer and template", async (family) => {
    const model = goldenModel(family)
    const out = place()
    const result = await exportModel(model, { to: "hf", out })
    expect(result).toMatchObject({ to: "hf", out, stored: "float32", notes: [] })
    expect(result.verified).toMatchObject({ largestError: 0 })
    expect(result.files.map(({ file }) => file)).toEqual([
      "config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ])
    const [before, after] = [await loadModel(model), await loadModel(out)]
    expect(after.weights).toEqual(before.weights)
    expect(after.config.shape).toEqual(before.config.shape)
    for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
      expect(readFileSync(join(out, file))).toEqual(readFileSync(join(model, file)))
    }
  })

  test("in another dtype, which the config then names", async () => {
    const out = place()
    const { stored, verified } = await exportModel(goldenModel("qwen2"), {
      to: "hf",
      out,
      dtype: "bfloat16",
    })
    expect(stored).toBe("bfloat16")
    expect(verified.largestError).toBeGreaterThan(0)
    expect(verified.largestError).toBeLessThan(2 ** -8)
    expect(JSON.parse(readFileSync(join(out, "config.json"), "utf8"))).toMatchObject({
      dtype: "bfloat16",
      torch_dtype: "bfloat16",
    })
    expect((await loadModel(out)).dtype).toBe("bfloat16")
  })
})

describe("merged", () => {
  test.each(["float32", "float16", "bfloat16"] as const)(
    "a base in %s: W + scale B A, rounded once, in the base's own precision",
    async (dtype) => {
      const base = await stored("qwen2", dtype)
      const out = place()
      const result = await exportModel(goldenAdapter("qwen2", base), { to: "merged", out })
      expect(result.stored).toBe(dtype)
      const { config, weights } = await loadModel(base)
      const adapter = await readAdapter(goldenAdapter("qwen2", base), config.shape)
      mergeAdapter(weights, adapter.tensors, adapter)
      const written = await loadModel(out)
      expect(written.dtype).toBe(dtype)
      const bits = { float32: 24, float16: 11, bfloat16: 8 }[dtype]
      let changed = 0
      const { weights: before } = await loadModel(base)
      for (const [name, meant] of weights) {
        const got = written.weights.get(name)!
        meant.forEach((value, i) => {
          expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(
            Math.abs(value) * 2 ** -bits + 2 ** -25,
          )
        })
        if (got.some((value, i) => value !== before.get(name)![i])) changed++
      }
      expect(changed).toBe(2 * 7) // every linear layer of both blocks, nothing else
    },
  )

  test("a base elsewhere than the adapter says", async () => {
    const adapter = goldenAdapter("llama", join(newFolder(), "moved"))
    const options = { to: "merged", out: place() } as const
    await expect(exportModel(adapter, options)).rejects.toThrow(/moved/)
    const base = goldenModel("llama")
    expect(await exportModel(adapter, { ...options, base })).toMatchObject({ stored: "float32" })
  })
})

describe("peft", () => {
  test.each(families)("%s: the adapter's tensors and settings", async (family) => {
    const base = goldenModel(family)
    const adapter = goldenAdapter(family, base)
    const out = place()
    const result = await exportModel(adapter, { to: "peft", out })
    expect(result.verified.largestError).toBe(0)
    const config = JSON.parse(readFileSync(join(out, "adapter_config.json"), "utf8")) as object
    expect(config).toMatchObject({ peft_type: "LORA", base_model_name_or_path: base })
    expect(result.notes.join()).toContain(base)
    const tensors = async (folder: string) => {
      const file = await openSafetensors(join(folder, "adapter_model.safetensors"))
      const names = [...file.tensors.keys()].sort()
      const read = await Promise.all(
        names.map(async (name) => [name, await file.readFloat32(name)]),
      )
      await file.close()
      return read
    }
    expect(await tensors(out)).toEqual(await tensors(adapter))
    expect(readdirSync(out)).toContain("tokenizer.json")
  })
})

/** A run folder that holds this much of a run. */
function runWith(parts: readonly ("model" | "checkpoint")[]): string {
  const run = join(newFolder(), "my-run")
  mkdirSync(run)
  writeFileSync(join(run, "events.jsonl"), "")
  const copy = (to: string) => {
    mkdirSync(to, { recursive: true })
    const from = goldenModel("qwen2")
    for (const file of readdirSync(from))
      writeFileSync(join(to, file), readFileSync(join(from, file)))
  }
  if (parts.includes("checkpoint")) copy(join(run, "checkpoints/step-000020"))
  if (parts.includes("model")) copy(join(run, "model"))
  return run
}

describe("a run", () => {
  test("goes to its own export folder, and the file is named after it", async () => {
    const run = runWith(["model", "checkpoint"])
    const { out, files, notes } = await exportModel(run, { to: "gguf" })
    expect(out).toBe(join(run, "export/gguf"))
    expect(files.map(({ file }) => file)).toEqual(["my-run-f32.gguf"])
    expect(notes).toEqual([])
    await expect(exportModel(run, { to: "gguf" })).rejects.toThrow(/not empty.*--force/)
  })
  test("without its result is exported as it last was, and says so", async () => {
    const { notes } = await exportModel(runWith(["checkpoint"]), { to: "hf" })
    expect(notes).toEqual(["the run has no model/ yet: this is its checkpoint step-000020"])
  })
  test("whose base was quantised says that the export's is not", async () => {
    const run = join(newFolder(), "qlora")
    cpSync(goldenAdapter("qwen2", goldenModel("qwen2")), join(run, "model"), { recursive: true })
    writeFileSync(join(run, "events.jsonl"), "")
    writeFileSync(join(run, "config.json"), JSON.stringify({ config: { quantization: "int4" } }))
    const { notes } = await exportModel(run, { to: "merged" })
    expect(notes).toEqual([expect.stringMatching(/over an int4 base.*as it was before/)])
  })
  test("that has saved nothing is refused", async () => {
    await expect(exportModel(runWith([]), { to: "hf" })).rejects.toThrow(
      /no model\/ and no checkpoint/,
    )
  })
})

describe("places", () => {
  test("--force replaces files one by one; others stay, old weights go", async () => {
    const out = place()
    mkdirSync(out)
    for (const name of ["model-00001-of-00002.safetensors", "notes.txt"]) {
      writeFileSync(join(out, name), name)
    }
    const model = goldenModel("qwen2")
    await expect(exportModel(model, { to: "hf", out })).rejects.toThrow(/not empty.*--force/)
    await exportModel(model, { to: "hf", out, force: true })
    expect(readdirSync(out).sort()).toEqual([
      "config.json",
      "model.safetensors",
      "notes.txt",
      "tokenizer.json",
      "tokenizer_config.json",
    ])
  })

  test.each(["hf", "gguf"] as const)("an interrupted export to %s leaves nothing", async (to) => {
    const out = place()
    for (const stopAt of [/writing/, /reading back/]) {
      const stop = new AbortController()
      const onProgress = (message: string) => stopAt.test(message) && stop.abort()
      const work = exportModel(goldenModel("qwen2"), { to, out, signal: stop.signal, onProgress })
      await expect(work).rejects.toThrow(/abort/i)
      expect(readdirSync(dirname(out))).toEqual([])
    }
  })

  test("what cannot be stored leaves nothing either", async () => {
    const out = place()
    const model = await stored("qwen2", "float32", (weights) => {
      weights.get("model.norm.weight")![3] = Number.NaN
    })
    await expect(exportModel(model, { to: "gguf", out })).rejects.toThrow(/output_norm.*holds NaN/)
    await expect(exportModel(model, { to: "hf", out })).rejects.toThrow(/model\.norm.*holds NaN/)
    const large = await stored("qwen2", "float32", (weights) => {
      weights.get("model.embed_tokens.weight")![3] = 1e5
    })
    const half = exportModel(large, { to: "gguf", out, type: "f16" })
    await expect(half).rejects.toThrow(/token_embd.*100000 does not fit F16; choose bf16 or f32/)
    expect(readdirSync(dirname(out))).toEqual([])
    expect(existsSync(out)).toBe(false)
  })
})

const adapter = () => goldenAdapter("qwen2", goldenModel("qwen2"))
const whole = () => goldenModel("qwen2")
const refused: readonly [string, () => string, Partial<ExportOptions>, RegExp][] = [
  ["hf of an adapter", adapter, { to: "hf" }, /is an adapter; --to merged .*--to peft/],
  ["peft of a full fine-tune", whole, { to: "peft" }, /needs an adapter.*--to hf/],
  ["merged of a full fine-tune", whole, { to: "merged" }, /needs an adapter.*--to hf/],
  ["a dtype for gguf", whole, { to: "gguf", dtype: "float16" }, /--dtype.*use --type/],
  ["a type for hf", whole, { to: "hf", type: "q8_0" }, /--type.*use --dtype/],
  ["a pre-tokenizer for hf", whole, { to: "hf", preTokenizer: "qwen2" }, /--pre is for/],
  ["a base for a whole model", whole, { to: "hf", base: "x/y" }, /--base is for adapters/],
  ["a file for a folder", whole, { to: "gguf", out: "a.gguf" }, /expected a folder/],
  [
    "no place to write to",
    whole,
    { to: "hf", out: undefined as never },
    /--out: expected a folder/,
  ],
  ["a model that is not there", () => "no/such", { to: "hf" }, /no\/such/],
]
test.each(refused)("%s is refused, with what to do instead", async (_, model, options, message) => {
  const all = { out: place(), ...options } as ExportOptions
  await expect(exportModel(model(), all)).rejects.toThrow(message)
  await expect(exportModel(model(), all)).rejects.toBeInstanceOf(InputError)
})

test("a model is not written over itself", async () => {
  const model = whole()
  const work = exportModel(model, { to: "hf", out: model, force: true })
  await expect(work).rejects.toThrow(/this folder is that of the model/)
  expect(readdirSync(model)).toContain("model.safetensors")
})
