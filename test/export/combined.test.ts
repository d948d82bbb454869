import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import { addedAdapter, exportModel } from "../../src/export/index.ts"
import { openSafetensors } from "../../src/formats/index.ts"
import { loadModel } from "../../src/models/files/index.ts"
import { MODELS } from "../models/golden-models.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-combined-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const GOLDEN = fileURLToPath(new URL("../../golden/weighted_adapters.safetensors", import.meta.url))

/** A golden adapter of qwen2 that finds its base. */
function adapter(name: string): string {
  const folder = join(root, name)
  cpSync(`${MODELS}qwen2/${name}`, folder, { recursive: true })
  const path = join(folder, "adapter_config.json")
  const config = JSON.parse(readFileSync(path, "utf8"))
  writeFileSync(path, JSON.stringify({ ...config, base_model_name_or_path: `${MODELS}qwen2` }))
  return folder
}
const [one, two, saved] = [adapter("adapter"), adapter("adapter-rslora"), adapter("adapter-saved")]
const added = [addedAdapter(`${two}:0.5`)]

async function expectPeft(folder: string): Promise<void> {
  const { weights } = await loadModel(folder)
  const golden = await openSafetensors(GOLDEN)
  for (const name of golden.tensors.keys()) {
    const [expected, found] = [await golden.readFloat32(name), weights.get(name)!]
    expected.forEach((value, i) => {
      expect(Math.abs(found[i]! - value)).toBeLessThan(2e-6)
    })
  }
  await golden.close()
}

test("adapters with weights, merged, are PEFT's", async () => {
  const out = join(root, "merged")
  await exportModel(one, { to: "merged", out, weight: 0.75, added })
  await expectPeft(out)
})

test("as one adapter they come to the same", async () => {
  const out = join(root, "peft")
  await exportModel(one, { to: "peft", out, weight: 0.75, added })
  await exportModel(out, { to: "merged", out: join(root, "merged-again") })
  await expectPeft(join(root, "merged-again"))
})

test("a path may have a colon; a number after the last is the weight", () => {
  expect(addedAdapter("C:\\runs\\one")).toEqual({ path: "C:\\runs\\one", weight: 1 })
  expect(addedAdapter("runs/one:-1.5")).toEqual({ path: "runs/one", weight: -1.5 })
})

test("whole modules do not add up", async () => {
  const out = join(root, "none")
  const run = exportModel(one, { to: "merged", out, added: [{ path: saved, weight: 1 }] })
  await expect(run).rejects.toThrow(/whole modules of the base.*merge it first/)
})
