import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { openGenerator, type Sample, type SampleRequest } from "../../src/generate/index.ts"
import { golden, letters, MODELS } from "./tiny-models.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-open-"))
afterAll(() => rmSync(folder, { recursive: true }))

/** A tokenizer.json with one token per character, ids as in `letters`. */
const tokenizer = {
  model: {
    type: "BPE",
    vocab: Object.fromEntries(
      Array.from({ length: 64 }, (_, id) => [letters.tokenText(id).replace(" ", "Ġ"), id]),
    ),
    merges: [],
  },
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: false },
  decoder: { type: "ByteLevel" },
  added_tokens: [],
}

/** golden/models/qwen2 as a user's folder. */
function model(name: string): string {
  const path = join(folder, name)
  mkdirSync(path, { recursive: true })
  for (const file of ["config.json", "model.safetensors"]) {
    cpSync(`${MODELS}qwen2/${file}`, join(path, file))
  }
  writeFileSync(join(path, "tokenizer.json"), JSON.stringify(tokenizer))
  return path
}

function adapter(path: string, base: string): string {
  cpSync(`${MODELS}qwen2/adapter`, path, { recursive: true })
  const file = join(path, "adapter_config.json")
  const config = JSON.parse(readFileSync(file, "utf8"))
  writeFileSync(file, JSON.stringify({ ...config, base_model_name_or_path: base }))
  return path
}

async function greedy(path: string, request: Partial<SampleRequest>): Promise<Sample> {
  const generator = await openGenerator(path, { threads: 2 })
  const whole = { prompt: "x", n: 1, temperature: 0, maxNewTokens: 12, seed: 0, ...request }
  const samples: Sample[] = []
  for await (const sample of generator.sample([whole])) samples.push(sample)
  await generator.close()
  return samples[0]!
}

const plain = golden("qwen2").greedy[0]!
const adapted = golden("qwen2").adapters!.adapter!.greedy

test("a model folder, and an adapter folder with its base found by name", async () => {
  const base = model("base")
  const sample = await greedy(base, { prompt: { tokenIds: plain.prompt } })
  expect(sample.tokenIds).toEqual(plain.token_ids)
  const path = adapter(join(folder, "adapter"), base)
  const other = await greedy(path, { prompt: { tokenIds: adapted.prompt } })
  expect(other.tokenIds).toEqual(adapted.token_ids)
})

test("a run: its latest checkpoint, then its model", async () => {
  const run = join(folder, "run")
  mkdirSync(join(run, "checkpoints"), { recursive: true })
  writeFileSync(join(run, "events.jsonl"), "")
  await expect(greedy(run, {})).rejects.toThrow(/no model\/ and no checkpoint yet/)
  mkdirSync(join(run, "checkpoints", "step-000100")) // a torn one holds no model
  adapter(join(run, "checkpoints", "step-000050"), model("base"))
  const request = { prompt: { tokenIds: adapted.prompt } }
  expect((await greedy(run, request)).tokenIds).toEqual(adapted.token_ids)
  model("run/model")
  const last = await greedy(run, { prompt: { tokenIds: plain.prompt } })
  expect(last.tokenIds).toEqual(plain.token_ids)
})

test("all stop ids of generation_config.json, and messages through the folder's template", async () => {
  const path = model("stops")
  const [first, second] = plain.token_ids as [number, number]
  writeFileSync(join(path, "generation_config.json"), `{"eos_token_id":[3,${second}]}`)
  const stopped = await greedy(path, { prompt: { tokenIds: plain.prompt } })
  expect(stopped.tokenIds).toEqual([first, second])
  expect(stopped.finishReason).toBe("stop")

  const template =
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} A.{% endif %}"
  writeFileSync(join(path, "chat_template.jinja"), template)
  const messages = [{ role: "user", content: "hi" }]
  const asked = await greedy(path, { prompt: messages })
  expect(asked.tokenIds).toEqual((await greedy(path, { prompt: "hi A." })).tokenIds)
})
