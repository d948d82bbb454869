import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { planOf } from "../../src/engines/index.ts"
import { exportModel } from "../../src/export/index.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-plan-weights-"))
process.env.DFTUNE_CACHE = join(root, "cache")
afterAll(() => rmSync(root, { recursive: true, force: true }))

const rows = sumRows(root, 12)
const right = tinyModel(root)

/** The plan of a run on the tiny model whose config.json says otherwise. */
function planned(name: string, changes: object) {
  const model = join(root, name)
  cpSync(right, model, { recursive: true })
  const path = join(model, "config.json")
  const json = JSON.parse(readFileSync(path, "utf8"))
  writeFileSync(path, JSON.stringify({ ...json, ...changes }))
  return planOf(configOf(model))
}

const configOf = (model: string) =>
  parseConfig({
    ...{ model, data: { train: [rows], max_length: 64 }, batch_size: 4, max_steps: 1 },
    output_dir: join(root, "run"),
  })

test.each([
  ["layers", { num_hidden_layers: 4000 }, /"num_hidden_layers": 4000, .* tensors of 2/],
  ["width", { intermediate_size: 2 ** 24 }, /expected shape \[16777216, \d+\], got/],
  ["vocabulary", { vocab_size: 2 ** 24 }, /embed_tokens\.weight": expected shape \[16777216, /],
])("a plan of more %s than the tensors have is refused", async (name, changes, message) => {
  await expect(planned(name, changes)).rejects.toThrow(message)
})

test("a plan of more layers than a GGUF file has is refused", async () => {
  const out = join(root, "gguf")
  const { files } = await exportModel(right, { to: "gguf", out, preTokenizer: "gpt-2" })
  const file = join(out, files[0]!.file)
  await expect(planOf(configOf(file))).resolves.toBeDefined()
  const bytes = readFileSync(file)
  const key = "llama.block_count"
  const value = bytes.indexOf(key) + key.length + 4 // behind its kind
  bytes.writeUInt32LE(4000, value)
  writeFileSync(file, bytes)
  await expect(planOf(configOf(file))).rejects.toThrow(/block_count: 4000, .* tensors of 2/)
})
