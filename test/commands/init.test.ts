import { spawnSync } from "node:child_process"
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import { loadConfig } from "../../src/config/index.ts"
import { DFTUNE } from "../dftune.ts"

const DEMO = fileURLToPath(new URL("../../demo/model", import.meta.url))

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-init-"))
  const rows = Array.from({ length: 60 }, (_, i) => ({
    messages: [
      { role: "user", content: `calc ${i} + 4` },
      { role: "assistant", content: `${i} + 4 = ${i + 4}. The answer is ${i + 4}.` },
    ],
  }))
  writeFileSync(
    join(folder, "rows.jsonl"),
    `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`,
  )
  symlinkSync(DEMO, join(folder, "a b: c"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function dftune(...words: string[]) {
  const env = { ...process.env, HF_HUB_OFFLINE: "1", XDG_CACHE_HOME: join(folder, "cache") }
  return spawnSync(process.execPath, [...DFTUNE, ...words], {
    cwd: folder,
    env,
    encoding: "utf8",
  })
}

test("it looks at model and rows, and proposes settings that make enough steps", async () => {
  const words = ["init", "new", "--yes", "--model", "a b: c", "--train", "rows.jsonl"]
  const { status, stdout, stderr } = dftune(...words, "--objective", "threshold")
  expect({ status, stdout }).toEqual({ status: 0, stdout: `${join("new", "dftune.yaml")}\n` })
  const path = join(folder, "new", "dftune.yaml")
  const config = await loadConfig(path)
  expect(config).toMatchObject({
    model: join(folder, "a b: c"), // found beside the config, whatever the working directory
    objective: { name: "threshold" },
    adapter: null,
    data: { max_length: 64, train: [{ path: join(folder, "rows.jsonl") }] },
  })
  const steps = (60 * config.num_train_epochs!) / config.batch_size
  expect(steps).toBeGreaterThan(99)
  const text = readFileSync(path, "utf8")
  expect(text).toMatch(/learning_rate: .*# /)
  expect(text).toMatch(/Found: qwen2, 1.05M parameters; 60 rows/)
  expect(stderr).toContain("next:")
  const again = dftune("init", "new", "--json", "--force", ...words.slice(3))
  const written = { model: "../a b: c", objective: "dft" }
  expect(JSON.parse(again.stdout)).toMatchObject({
    file: path.slice(folder.length + 1),
    config: written,
  })
  expect(dftune("init", "new", "--yes")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("--force"),
  })
})

test("columns of other names are given, and stand in the config", async () => {
  const rows = Array.from({ length: 20 }, (_, i) => `${i},calc ${i} + 1,${i + 1}`)
  writeFileSync(join(folder, "other.csv"), ["id,Frage?,my answer", ...rows].join("\n"))
  const words = ["init", "columns", "--yes", "--model", "a b: c", "--train", "other.csv"]
  const refused = dftune(...words)
  expect(refused.status).toBe(2)
  expect(refused.stderr).toMatch(
    /keys "id", "Frage\?", "my answer"\. .*--columns question=NAME --columns answer=NAME/s,
  )
  expect(dftune(...words, "--columns", "question").stderr).toMatch(/expected NAME=COLUMN/)
  const pairs = ["--columns", "question=Frage?", "--columns", "answer=my answer"]
  expect(dftune(...words, ...pairs)).toMatchObject({ status: 0 })
  const { data } = await loadConfig(join(folder, "columns", "dftune.yaml"))
  expect(data.columns).toEqual({ question: "Frage?", answer: "my answer" })
})

test.each([
  [["--model", "no/such/folder"], /no such folder/],
  [["--model", "a b: c", "--train", "absent.jsonl"], /absent.jsonl: no such file/],
  [["--objective", "dtf"], /did you mean "dft"\?/],
  [["--model", "nosuchmodel"], /nosuchmodel: /],
])("what cannot work is refused before anything is written: %j", (words, message) => {
  const { status, stderr } = dftune("init", "refused", "--yes", ...words)
  expect(status).toBe(2)
  expect(stderr).toMatch(message)
})

test("a family that cannot be trained is refused", () => {
  const model = join(folder, "odd")
  cpSync(DEMO, model, { recursive: true })
  const config = JSON.parse(readFileSync(join(model, "config.json"), "utf8"))
  const path = join(model, "config.json")
  writeFileSync(path, JSON.stringify({ ...config, model_type: "falcon_mamba" }))
  const { status, stderr } = dftune("init", "odd-config", "--yes", "--model", model)
  expect(status).toBe(2)
  expect(stderr).toMatch(/falcon_mamba/)
})

test("where nothing can be looked at, it says so and writes what is usual", async () => {
  const { status, stderr } = dftune("init", "blind", "--yes")
  expect(status).toBe(0)
  expect(stderr).toMatch(/could not look at Qwen\/Qwen2.5-0.5B/)
  expect(stderr).toMatch(/train.jsonl: no such file yet/)
  const config = await loadConfig(join(folder, "blind", "dftune.yaml"))
  expect(config).toMatchObject({
    model: "Qwen/Qwen2.5-0.5B",
    objective: { name: "dft", keep_special: true },
    adapter: { type: "lora" },
  })
})

test("paths of a script lead from the folder that the config is written to", async () => {
  const place = join(folder, "scripts")
  mkdirSync(join(place, "mine"), { recursive: true })
  writeFileSync(join(place, "train.jsonl"), '{"text":"a"}\n')
  const script = join(place, "train.py")
  const rows = 'load_dataset("json", data_files="train.jsonl")'
  const args = 'SFTConfig(output_dir="out")'
  writeFileSync(
    script,
    `from trl import SFTTrainer, SFTConfig\nds = ${rows}\nSFTTrainer(model="o/m", train_dataset=ds, args=${args})\n`,
  )
  expect(dftune("init", join(place, "mine"), "--from", script).status).toBe(0)
  const config = await loadConfig(join(place, "mine", "dftune.yaml"))
  expect(config.model).toBe("o/m")
  expect(config.data.train.map(({ path }) => path)).toEqual([join(place, "train.jsonl")])
})

test("it writes over nothing it reads, and into no file", () => {
  const place = join(folder, "imported")
  mkdirSync(join(place, "taken", "dftune.yaml"), { recursive: true })
  const settings = join(place, "dftune.yaml")
  const text = "base_model: o/m\nmicro_batch_size: 1\n"
  writeFileSync(settings, text)
  expect(dftune("init", place, "--force", "--from", settings)).toMatchObject({
    status: 2,
    stderr: expect.stringContaining(`init ${settings}: the settings are read from there`),
  })
  expect(readFileSync(settings, "utf8")).toBe(text)
  expect(dftune("init", settings, "--yes")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining(`init ${settings}: expected a folder, got a file`),
  })
  expect(dftune("init", join(place, "taken"), "--force", "--yes")).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("dftune.yaml: expected a file, got a folder"),
  })
})
