import { execFileSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import {
  memoryFolder,
  openTabModel,
  openWebDevice,
  rowValues,
  type Sample,
  TabRun,
  tabConfig,
  tabRows,
  type WebRuntime,
} from "../../src/browser/index.ts"
import { promptIds } from "../../src/generate/prompt.ts"
import { DFTUNE } from "../dftune.ts"
import { pythonWith } from "../python-with.ts"
import { ROWS } from "./arithmetic-rows.ts"
import { DEMO_FILES, DEMO_MODEL, DEMO_NAMES } from "./demo-model.ts"

const QUESTION = "(2 + 5) * 2 = ?"
/** As a person has it after unpacking: adapter/ beside base/. */
const folder = mkdtempSync(join(tmpdir(), "dftune-tab-adapter-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let asked: number[]
let said: Sample
beforeAll(async () => {
  const ort = createRequire(import.meta.url)("onnxruntime-web") as WebRuntime
  const device = await openWebDevice(ort, { device: "wasm", threads: 1 })
  const model = await openTabModel(memoryFolder("base", DEMO_FILES), { name: "base" })
  const config = tabConfig({
    objective: "dft",
    adapter: { type: "lora", r: 4, use_rslora: true },
    ...{ learning_rate: 2e-2, batch_size: 4, max_steps: 4, micro_batch_tokens: 256 },
    data: { max_length: 192 },
  })
  const rows = tabRows("rows", rowValues(ROWS, "rows"), config, model)
  const run = await TabRun.open({ device, model, rows, config })
  while ((await run.advance()).length > 0);
  const prompt = [{ role: "user", content: QUESTION }]
  const request = { prompt, n: 1, temperature: 0, maxNewTokens: 40, seed: 0 }
  for await (const sample of run.sample([request])) said = sample
  asked = promptIds(prompt, model)
  mkdirSync(join(folder, "adapter"))
  for (const [name, bytes] of await run.adapter())
    writeFileSync(join(folder, "adapter", name), bytes)
  for (const name of DEMO_NAMES) cpSync(join(DEMO_MODEL, name), join(folder, "base", name))
  await run.release()
  await device.release()
})

test("dftune chat answers with the tab's adapter as the tab does", () => {
  const command = [...DFTUNE, "chat", "adapter", "--temperature", "0"]
  const out = execFileSync(process.execPath, [...command, "--max-new-tokens", "40"], {
    cwd: folder,
    input: `${QUESTION}\n/exit\n`,
    stdio: ["pipe", "pipe", "ignore"],
  })
  expect(said.completion).toContain("answer")
  expect(out.toString()).toContain(said.completion.trim())
})

const PEFT = `
import json, sys, torch
from transformers import AutoModelForCausalLM
from peft import PeftModel
ids, tokens = json.load(sys.stdin)
base = AutoModelForCausalLM.from_pretrained("base", dtype=torch.float32)
model = PeftModel.from_pretrained(base, "adapter")
with torch.no_grad():
    logits = model(torch.tensor([ids + tokens])).logits[0]
logp = torch.log_softmax(logits[len(ids) - 1 : -1], -1)
print(json.dumps(logp[range(len(tokens)), tokens].tolist()))
`

test("PEFT opens the tab's adapter, and gives its tokens the tab's probabilities", ({ skip }) => {
  const python = pythonWith("torch", "transformers", "peft")
  if (!python) {
    console.warn("NOT TESTED with PEFT: no Python has torch, transformers and peft")
    return skip()
  }
  const out = execFileSync(python, ["-c", PEFT], {
    cwd: folder,
    input: JSON.stringify([asked, said.tokenIds]),
    stdio: ["pipe", "pipe", "ignore"],
  })
  const logprobs = JSON.parse(out.toString()) as number[]
  for (const [i, logprob] of said.logprobs.entries()) expect(logprobs[i]).toBeCloseTo(logprob, 3)
}, 120_000)
