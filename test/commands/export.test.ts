import { spawnSync } from "node:child_process"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { DFTUNE } from "../dftune.ts"
import { goldenAdapter, goldenModel, newFolder } from "../export/models.ts"

function dftune(...args: string[]) {
  const argv = [...DFTUNE, "export", ...args]
  const { FORCE_COLOR: _, ...own } = process.env
  const env = { ...own, NO_COLOR: "1" }
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, { encoding: "utf8", env })
  return { status, stdout, stderr }
}

test("words on stderr, the folder on stdout; with --json one document", () => {
  const out = join(newFolder(), "out")
  const model = goldenModel("llama-dynamic")
  const { status, stdout, stderr } = dftune(model, "--to", "gguf", "--type", "q8_0", "--out", out)
  expect({ status, stdout }).toEqual({ status: 0, stdout: `${out}\n` })
  expect(stderr).toMatch(/^warning: llama\.cpp has no dynamic rotary scaling/m)
  expect(stderr).toMatch(/^wrote llama-dynamic-q8_0\.gguf \(\d+ kB\)$/m)
  expect(stderr).toMatch(
    /^read back: 21 tensors, \S+ values in q8_0; every value is within its bound/m,
  )
  const again = dftune(model, "--to", "gguf", "--type", "q8_0", "--out", out, "--force", "--json")
  expect(again.status).toBe(0)
  expect(JSON.parse(again.stdout)).toMatchObject({
    to: "gguf",
    out,
    stored: "q8_0",
    files: [{ file: "llama-dynamic-q8_0.gguf" }],
    verified: { tensors: 21, largest_error: expect.any(Number) },
    notes: [expect.stringMatching(/dynamic/)],
  })
})

test("a merged adapter, in a dtype of one's own", () => {
  const out = join(newFolder(), "out")
  const adapter = goldenAdapter("qwen2", goldenModel("qwen2"))
  const { status, stderr } = dftune(adapter, "--to", "merged", "--dtype", "bf16", "--out", out)
  expect(status).toBe(0)
  expect(stderr).toMatch(/values in bfloat16; every value is within its bound/)
  expect(readdirSync(out)).toContain("model.safetensors")
})

test.each<[string, (model: string, out: string) => string[], RegExp]>([
  ["no format", (model, out) => [model, "--out", out], /--to/],
  ["an unknown format", (model, out) => [model, "--to", "onnx", "--out", out], /hf, peft, merged/],
  ["an unknown type", (m, out) => [m, "--to", "gguf", "--type", "q3", "--out", out], /q8_0/],
  ["no place", (model) => [model, "--to", "hf"], /--out: expected a folder/],
  ["no adapter", (model, out) => [model, "--to", "peft", "--out", out], /needs an adapter/],
])("%s: exit code 2, and what was expected", (_, args, message) => {
  const out = join(newFolder(), "out")
  const { status, stdout, stderr } = dftune(...args(goldenModel("qwen2"), out))
  expect({ status, stdout }).toEqual({ status: 2, stdout: "" })
  expect(stderr).toMatch(message)
  expect(existsSync(out)).toBe(false)
})
