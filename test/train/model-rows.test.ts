import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { openGenerator } from "../../src/generate/index.ts"
import { closeRows, planRun } from "../../src/train/plan.ts"
import { tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-model-rows-"))
process.env.DFTUNE_CACHE = join(root, "cache")
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** A tokenizer with a token that its model was not resized for. */
const model = tinyModel(root)
const path = join(model, "tokenizer.json")
const tokenizer = JSON.parse(readFileSync(path, "utf8")) as { added_tokens: object[] }
tokenizer.added_tokens.push({ ...tokenizer.added_tokens[0], id: 600, content: "<new>" })
writeFileSync(path, JSON.stringify(tokenizer))

function rows(name: string, all: readonly object[]): string {
  const file = join(root, `${name}.jsonl`)
  writeFileSync(file, all.map((row) => `${JSON.stringify(row)}\n`).join(""))
  return file
}

async function plan(data: object) {
  const config = { model, data: { max_length: 400, ...data }, batch_size: 2, max_steps: 1 }
  const planned = await planRun(parseConfig({ ...config, output_dir: join(root, "out") }))
  closeRows(planned)
  return planned
}

const good = { prompt: "1+1=", completion: "2" }
const unknown = /token 600 \("<new>"\) has no row in the model, whose vocab_size is 64/

test.each([
  ["a prompt", { prompt: "<new>1+1=", completion: "2" }],
  ["a completion", { prompt: "1+1=", completion: "2<new>" }],
])("an id that the model does not have, in %s: named with its row", async (name, row) => {
  const file = rows(name, [good, good, row])
  await expect(plan({ train: [file] })).rejects.toThrow(unknown)
  await expect(plan({ train: [file] })).rejects.toThrow(`${file}:3: `)
  const train = rows("good", [good])
  await expect(plan({ train: [train], eval: [file] })).rejects.toThrow(`${file}:3: `)
})

test("rows longer than the model's context are a warning with their place", async () => {
  const long = { prompt: "1+".repeat(180), completion: "2" }
  const { lints } = await plan({ train: [rows("long", [good, long])] })
  expect(lints).toContainEqual(
    expect.objectContaining({
      code: "longer-than-context",
      message: expect.stringMatching(/^1 row is longer than the model's context of 256 tokens/),
      examples: [join(root, "long.jsonl:2")],
    }),
  )
})

test("a prompt with such an id is refused by name", async () => {
  const generator = await openGenerator(model)
  const request = { prompt: "<new>1", n: 1, temperature: 0, maxNewTokens: 1, seed: 0 }
  const samples = async () => {
    for await (const _ of generator.sample([request])) expect.unreachable()
  }
  await expect(samples()).rejects.toThrow(unknown)
  await generator.close()
})
