import { execFile } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { expect, test } from "vitest"
import { DEMO_MODEL, writeSumRows } from "../../scripts/sum-rows.ts"
import { DFTUNE } from "../dftune.ts"

const ROOT = fileURLToPath(new URL("../../", import.meta.url))

/**
 * docs/getting-started.md from end to end, as a new user: an empty HOME, no colour, output to a
 * file.
 */
test("the way of docs/getting-started.md works", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-walk-"))
  const env = { PATH: process.env.PATH ?? "", HOME: folder, NO_COLOR: "1", COLUMNS: "50" }
  const dftune = async (...args: string[]) => {
    const argv = [...DFTUNE, ...args]
    const { stdout } = await promisify(execFile)(process.execPath, argv, { cwd: folder, env })
    expect(stdout).not.toContain("\u001b")
    return stdout
  }
  writeSumRows(folder, 24)

  await dftune("init", "--yes", "--model", DEMO_MODEL, "--train", "train.jsonl", "--lora")
  const shown = await dftune("preview", "dftune.yaml", "--json")
  const [example] = shown
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
  expect(example.loss_mask.length).toBe(example.token_ids.length)

  const short = ["--set", "max_steps=2", "batch_size=8", "eval_steps=0"]
  await dftune("train", "dftune.yaml", ...short)
  await dftune("train", "dftune.yaml", ...short, "objective=sft", "output_dir=runs/sft")
  await dftune("export", "runs/my-run", "--to", "merged")
  expect(existsSync(join(folder, "runs/my-run/export/merged/model.safetensors"))).toBe(true)
  // The demo's pre-tokenizer is its own; GPT-2's cuts its problems the same.
  const gguf = ["--to", "gguf", "--type", "q8_0", "--pre", "gpt-2", "--json"]
  const { files } = JSON.parse(await dftune("export", "runs/my-run", ...gguf))
  expect(files[0].file).toBe("my-run-q8_0.gguf")
  const samples = ["--n", "2", "--max-new-tokens", "40", "--out", "samples.jsonl"]
  await dftune("generate", "runs/my-run", "--prompts", "questions.jsonl", ...samples)
  await dftune("grade", "samples.jsonl", "--out", "graded.jsonl")
  const graded = readFileSync(join(folder, "graded.jsonl"), "utf8").trim().split("\n")
  expect(graded.length).toBe(8)
  expect(typeof JSON.parse(graded[0]!).correct).toBe("boolean")
  // recipes/offline-rl, on this machine
  await dftune("grade", "samples.jsonl", "--keep", "correct", "--out", "correct.jsonl")
  const offline = join(ROOT, "recipes/offline-rl/dft.yaml")
  const here = ["--set", `model=${DEMO_MODEL}`, "engine=onnx", "num_train_epochs=1", "batch_size=8"]
  await dftune("train", offline, ...here, "output_dir=runs/offline")
  expect(existsSync(join(folder, "runs/offline/model/model.safetensors"))).toBe(true)

  await dftune("compare", "runs/my-run", "runs/sft", "--html", "compare.html")
  expect(existsSync(join(folder, "compare.html"))).toBe(true)
}, 300_000)
