import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { openCheckpoint, type TensorToWrite, writeCheckpoint } from "../../src/formats/index.ts"
import {
  type LoadedModel,
  loadModel,
  loadQuantizedModel,
  saveModel,
} from "../../src/models/files/index.ts"
import {
  type CheckpointDtype,
  decoderParameters,
  dequantizeMatrix,
  elementCount,
  parameterCount,
} from "../../src/models/index.ts"
import { families, MODELS } from "./golden-models.ts"

let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "dftune-load-"))
})
afterAll(() => rm(scratch, { recursive: true }))

/** A golden model with its tensors changed, in a folder of its own. */
async function changed(
  family: string,
  change: (tensors: Map<string, TensorToWrite>) => void,
): Promise<string> {
  const folder = await mkdtemp(join(scratch, "changed-"))
  await cp(`${MODELS}${family}/config.json`, join(folder, "config.json"))
  const reader = await openCheckpoint(MODELS + family)
  const tensors = new Map<string, TensorToWrite>()
  for (const [name, { dtype, shape }] of reader.tensors) {
    tensors.set(name, { name, dtype, shape, data: await reader.read(name) })
  }
  await reader.close()
  change(tensors)
  await writeCheckpoint(folder, tensors.values())
  return folder
}

const zeros = (name: string, ...shape: number[]): TensorToWrite => ({
  name,
  dtype: "F32",
  shape,
  data: new Uint8Array(4 * elementCount(shape)),
})

const LAST = "model.layers.1.mlp.down_proj.weight"
const wrong: readonly [string, (tensors: Map<string, TensorToWrite>) => void, RegExp][] = [
  [
    "a missing tensor",
    (t) => t.delete(LAST),
    /1 of 26 tensors.*missing.*layers\.1\.mlp\.down_proj/,
  ],
  ["a stray tensor", (t) => t.set("x.y", zeros("x.y", 2)), /unexpected.*"x\.y"/],
  [
    "a transposed tensor",
    (t) => t.set(LAST, { ...t.get(LAST)!, shape: [40, 32] }),
    /down_proj\.weight": expected shape \[32, 40\], got \[40, 32\]/,
  ],
  [
    "whole numbers for weights",
    (t) => t.set(LAST, { ...t.get(LAST)!, dtype: "I32" }),
    /down_proj\.weight": expected F64, F32, F16 or BF16 weights, got I32/,
  ],
  [
    "names without the prefix",
    (t) => {
      for (const [name, tensor] of [...t]) {
        t.delete(name)
        const bare = name.replace(/^model\./, "")
        t.set(bare, { ...tensor, name: bare })
      }
    },
    /missing.*"model\.embed_tokens\.weight".*and 22 more; found instead "/,
  ],
]
test.each(wrong)("%s is refused by name", async (_name, change, message) => {
  const folder = await changed("qwen2", change)
  await expect(loadModel(folder)).rejects.toThrow(message)
  await expect(loadModel(folder)).rejects.toThrow(InputError)
})

test("a head that is tied by the config and written out, and old rotary tables, are passed over", async () => {
  const folder = await changed("qwen2", (tensors) => {
    const embedding = tensors.get("model.embed_tokens.weight")!
    tensors.set("lm_head.weight", { ...embedding, name: "lm_head.weight" })
    const table = "model.layers.0.self_attn.rotary_emb.inv_freq"
    tensors.set(table, zeros(table, 4))
  })
  expect((await loadModel(folder)).weights).toEqual((await loadModel(`${MODELS}qwen2`)).weights)
})

test("a head of its own against a tied config is kept: trained, sampled from, and said when written", async () => {
  const values = new Float32Array(64 * 32).map((_, i) => Math.sin(i))
  const folder = await changed("qwen2", (tensors) => {
    const data = new Uint8Array(values.buffer)
    tensors.set("lm_head.weight", { name: "lm_head.weight", dtype: "F32", shape: [64, 32], data })
  })
  const model = await loadModel(folder)
  expect(model.config).toMatchObject({ hasOwnHead: true, json: { tie_word_embeddings: false } })
  expect(model.config.shape.tieWordEmbeddings).toBe(false)
  expect(model.weights.get("lm_head.weight")).toEqual(values)
  const again = await loadModel(await saved(model, "float32"))
  expect(again.config.hasOwnHead).toBeUndefined()
  expect(again.weights).toEqual(model.weights)
})

test("heads of other trainers are passed over, and float64 weights are read", async () => {
  const folder = await changed("qwen2", (tensors) => {
    tensors.set("v_head.summary.weight", zeros("v_head.summary.weight", 1, 32))
    const norm = tensors.get("model.norm.weight")!
    const floats = new Float32Array((norm.data as Uint8Array).slice().buffer)
    const data = new Uint8Array(Float64Array.from(floats).buffer)
    tensors.set(norm.name, { ...norm, dtype: "F64", data })
  })
  expect((await loadModel(folder)).weights).toEqual((await loadModel(`${MODELS}qwen2`)).weights)
})

test("an untied config without its head is refused", async () => {
  const folder = await changed("llama", (tensors) => tensors.delete("lm_head.weight"))
  await expect(loadModel(folder)).rejects.toThrow(/missing: "lm_head\.weight"/)
})

test("an aborted load stops between tensors", async () => {
  const stop = new AbortController()
  const onProgress = (read: number) => read === 3 && stop.abort()
  const load = loadModel(`${MODELS}qwen2`, { signal: stop.signal, onProgress })
  await expect(load).rejects.toThrow(/abort/i)
})

async function saved(model: LoadedModel, dtype: CheckpointDtype): Promise<string> {
  const source = await mkdtemp(join(scratch, "source-"))
  for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
    await writeFile(join(source, file), file)
  }
  await writeFile(join(source, "optimizer.pt"), "not a part of a model")
  const folder = await mkdtemp(join(scratch, "saved-"))
  const tensors = decoderParameters(model.config.shape).map(({ name, shape }) => ({
    name,
    shape,
    read: async () => model.weights.get(name)!,
  }))
  await saveModel(folder, { config: model.config, tensors, dtype, source })
  return folder
}

test.each(families)(
  "%s written in float32 and read again is the same, names and all",
  async (family) => {
    const model = await loadModel(MODELS + family)
    const folder = await saved(model, "float32")
    const again = await loadModel(folder)
    expect(again.weights).toEqual(model.weights)
    expect(again.config.shape).toEqual(model.config.shape)
    const names = async (path: string) => {
      const reader = await openCheckpoint(path)
      await reader.close()
      return [...reader.tensors.keys()].sort()
    }
    expect(await names(folder)).toEqual(await names(MODELS + family))
  },
)

test.each(["bfloat16", "float16"] as const)("written in %s it is rounded once", async (dtype) => {
  const model = await loadModel(`${MODELS}llama`)
  const folder = await saved(model, dtype)
  const rounded = await loadModel(folder)
  expect(rounded.dtype).toBe(dtype)
  expect(rounded.config.dtype).toBe(dtype)
  const relative = dtype === "bfloat16" ? 2 ** -8 : 2 ** -11
  for (const [name, values] of model.weights) {
    const got = rounded.weights.get(name)!
    values.forEach((value, i) => {
      expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(relative * Math.abs(value) + 2 ** -25)
    })
  }
  const twice = await loadModel(await saved(rounded, dtype))
  expect(twice.weights).toEqual(rounded.weights)
})

test("tokenizer and template go with the model, a trainer's files do not", async () => {
  const folder = await saved(await loadModel(`${MODELS}llama`), "float32")
  for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
    expect(await readFile(join(folder, file), "utf8")).toBe(file)
  }
  await expect(readFile(join(folder, "optimizer.pt"))).rejects.toThrow()
})

test("every tensor's memory is asked for once, and comes to the weights' own size", async () => {
  let elements = 0
  const allocate = (n: number) => {
    elements += n
    return new Float32Array(new SharedArrayBuffer(4 * n))
  }
  const { config, weights } = await loadModel(`${MODELS}qwen3`, { allocate })
  expect(elements).toBe(parameterCount(config.shape))
  for (const values of weights.values()) {
    expect(values.buffer).toBeInstanceOf(SharedArrayBuffer)
  }
})

test("a quantised load has every tensor once, the blocks' matrices as codes", async () => {
  const whole = await loadModel(`${MODELS}qwen2`)
  const { weights, quantized } = await loadQuantizedModel(`${MODELS}qwen2`, { bits: 8 })
  expect([...weights.keys(), ...quantized.keys()].sort()).toEqual([...whole.weights.keys()].sort())
  expect(quantized.size).toBe(2 * 7)
  for (const [name, matrix] of quantized) {
    const expected = whole.weights.get(name)!
    const back = dequantizeMatrix(matrix)
    const largest = Math.max(...matrix.scales)
    expected.forEach((value, i) => {
      expect(Math.abs(back[i]! - value)).toBeLessThanOrEqual(1.01 * largest)
    })
  }
  for (const [name, values] of weights) expect(values).toEqual(whole.weights.get(name))
})

test("a folder without a model says what it holds", async () => {
  const folder = await mkdtemp(join(scratch, "no-model-"))
  const refused = `${folder}: expected a model in Hugging Face's layout, got a folder without config.json; it holds`
  await expect(loadModel(folder)).rejects.toThrow(`${refused} nothing`)
  await writeFile(join(folder, "train.jsonl"), "")
  await expect(loadModel(folder)).rejects.toThrow(`${refused} train.jsonl`)
})
