import { execFile } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { beforeAll, describe, expect, test } from "vitest"
import { type ExportOptions, exportModel } from "../../src/export/index.ts"
import { openGguf } from "../../src/formats/index.ts"
import { goldenLogits, goldenTokenIds, largestError } from "../models/golden-logits.ts"
import { pythonWith } from "../python-with.ts"
import { goldenAdapter, goldenModel, newFolder } from "./models.ts"

const SCRIPT = fileURLToPath(new URL("./read-back.py", import.meta.url))

const python = pythonWith("torch", "transformers", "peft", "gguf")
const found =
  python ?? "absent: no Python with torch, transformers, peft and gguf; set DFTUNE_PYTHON"

async function exported(model: string, options: Partial<ExportOptions>): Promise<string> {
  const out = join(newFolder(), "out")
  const { to, files } = await exportModel(model, { to: "gguf", out, ...options })
  return to === "gguf" ? join(out, files[0]!.file) : out
}

interface Answer {
  readonly class: string
  readonly logits: readonly number[]
  readonly fields: Readonly<Record<string, unknown>>
  readonly tensors: Readonly<
    Record<
      string,
      { readonly type: string; readonly shape: readonly number[]; readonly sum: number }
    >
  >
}

describe.skipIf(!python)(`exports read by Python (${found})`, () => {
  const answers = new Map<string, Answer>()
  let files: Map<string, string>

  beforeAll(async () => {
    const requests = new Map<string, object>()
    files = new Map()
    for (const type of ["f32", "f16", "bf16", "q8_0", "q4_0"] as const) {
      const gguf = await exported(goldenModel("qwen2"), { type })
      files.set(type, gguf)
      requests.set(`gguf ${type}`, { gguf, read: true })
    }
    for (const family of ["llama", "qwen2"]) {
      const token_ids = goldenTokenIds(family)
      const model = goldenModel(family)
      const adapter = goldenAdapter(family, model)
      requests.set(`${family} gguf`, { gguf: await exported(model, {}), token_ids })
      const merged = await exported(adapter, { to: "merged" })
      requests.set(`${family} merged`, { model: merged, token_ids })
      const apart = await exported(adapter, { to: "peft" })
      requests.set(`${family} peft`, { model, adapter: apart, token_ids })
      requests.set(`${family} hf`, { model: await exported(model, { to: "hf" }), token_ids })
    }
    const path = join(newFolder(), "requests.json")
    writeFileSync(path, JSON.stringify([...requests.values()]))
    const { stdout } = await promisify(execFile)(python!, [SCRIPT, path], {
      maxBuffer: 1 << 26,
      env: { ...process.env, HF_HUB_OFFLINE: "1" },
    })
    const read = JSON.parse(stdout.trimEnd().split("\n").at(-1)!) as Answer[]
    for (const [i, name] of [...requests.keys()].entries()) answers.set(name, read[i]!)
  }, 300_000)

  test.each(["f32", "f16", "bf16", "q8_0", "q4_0"])(
    "%s: the gguf package finds the same metadata, tensors and values as we do",
    async (type) => {
      const { fields, tensors } = answers.get(`gguf ${type}`)!
      const file = await openGguf(files.get(type)!)
      for (const [key, { value }] of file.metadata) expect(fields[key], key).toEqual(value)
      expect(Object.keys(tensors)).toEqual([...file.tensors.keys()])
      for (const [name, { type, shape }] of file.tensors) {
        expect(tensors[name]).toMatchObject({ type, shape })
        const values = await file.readFloat32(name)
        const sum = values.reduce((total, value) => total + Math.abs(value), 0)
        expect(Math.abs(sum - tensors[name]!.sum), name).toBeLessThanOrEqual(1e-9 * (1 + sum))
      }
      await file.close()
    },
  )

  test.each(
    ["llama", "qwen2"].flatMap(
      (family) =>
        [
          [`${family} gguf`, family, /ForCausalLM$/],
          [`${family} hf`, family, /ForCausalLM$/],
          [`${family} merged`, `${family}/adapter`, /ForCausalLM$/],
          [`${family} peft`, `${family}/adapter`, /^Peft/],
        ] as const,
    ),
  )("%s: the logits are those of %s", async (name, golden, kind) => {
    const answer = answers.get(name)!
    expect(answer.class).toMatch(kind)
    expect(largestError(answer.logits, await goldenLogits(golden))).toBeLessThan(1e-4)
  })
})
