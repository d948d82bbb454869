import { execFileSync, spawnSync } from "node:child_process"
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { InputError } from "../../src/errors.ts"
import { gradeFile } from "../../src/evaluate/index.ts"
import { exportModel } from "../../src/export/index.ts"
import { openSampleFile } from "../../src/generate/sample-file.ts"
import { checkPage } from "../../src/host/output-place.ts"
import { clearRun, keepForeignModel } from "../../src/run/clear-run.ts"
import { GROWING_FILES } from "../../src/run/run-files.ts"
import { openRunFolder, tidyDone } from "../../src/run/run-folder.ts"
import { emptyIndex } from "../../src/run/run-index.ts"
import { lockFolder } from "../../src/run/run-lock.ts"
import { checkRunPlace } from "../../src/run/run-place.ts"
import { writeIndex } from "../../src/server/index-file.ts"
import { readMarks, writeMarks } from "../../src/server/run-marks.ts"
import { openTensorboard } from "../../src/trackers/tensorboard.ts"
import { checkpointFolders, writeCheckpointFolder } from "../../src/train/checkpoint.ts"
import { START } from "../../src/train/trainer.ts"
import { DFTUNE } from "../dftune.ts"
import { noIdentity } from "../train/no-identity.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

const newFolder = () => mkdtempSync(join(tmpdir(), "dftune-place-"))

const config = (model: string, output_dir: string, more: object = {}) =>
  parseConfig({ model, output_dir, data: { train: ["rows.jsonl"] }, ...more })

/** A folder with a model in `base/` and nothing else. */
function withModel(): string {
  const folder = newFolder()
  cpSync(tinyModel(folder), join(folder, "base"), { recursive: true })
  return folder
}

test("a run that would write into, around or inside its model is refused", () => {
  const folder = withModel()
  const base = join(folder, "base")
  for (const [output, reason] of [
    [base, /this folder is that of the model; give another/],
    [`${base}/`, /this folder is that of the model; give another/],
    [join(base, "..", "base"), /this folder is that of the model; give another/],
    [folder, /this folder holds the model/],
    [join(base, "runs", "new"), /this folder lies in that of the model/],
  ] as const) {
    expect(() => checkRunPlace(config(base, output)), output).toThrow(reason)
    expect(() => checkRunPlace(config(base, output, { resume: true })), output).toThrow(reason)
  }
  symlinkSync(base, join(folder, "linked"))
  expect(() => checkRunPlace(config(join(folder, "linked"), base))).toThrow(InputError)
  expect(() => checkRunPlace(config(base, join(folder, "linked", "run")))).toThrow(InputError)
  expect(checkRunPlace(config(base, join(folder, "run")))).toBe("free")
  expect(checkRunPlace(config(base, join(folder, "base-2")))).toBe("free")
  expect(checkRunPlace(config("Qwen/Qwen2.5-0.5B", join(folder, "run")))).toBe("free")
})

test.each<[string, (base: string) => object]>([
  ["the adapter", (path) => ({ adapter: { path } })],
  ["the teacher", (teacher) => ({ objective: "distill", teacher })],
  ["a reward model", (model) => ({ objective: "grpo", rollout: { rewards: [{ model }] } })],
])("%s that a run reads is as safe as its model", (what, more) => {
  const folder = withModel()
  const base = join(folder, "base")
  for (const output of [base, folder, join(base, "run")]) {
    const given = { batch_size: 8, ...more(base) }
    expect(() => checkRunPlace(config("o/m", output, given)), output).toThrow(what)
  }
  expect(checkRunPlace(config("o/m", join(folder, "run"), more(base)))).toBe("free")
})

test.each(["config.json", "model", "checkpoints", "samples.jsonl", "events.jsonl", "report.html"])(
  "a project's own %s is not written over",
  (name) => {
    const folder = newFolder()
    const path = join(folder, name)
    if (name.includes(".")) writeFileSync(path, '{"name":"my project"}\n')
    else mkdirSync(path)
    expect(() => checkRunPlace(config("m", folder))).toThrow(
      new RegExp(`holds a (file|folder) ${name} that no run wrote`),
    )
    expect(() => checkRunPlace(config("m", folder, { resume: true }))).toThrow(InputError)
  },
)

test.each(["torch", "run.sbatch", "run.kubernetes.yaml"])(
  "a project's own %s is not written over by engine torch",
  (name) => {
    const folder = newFolder()
    const path = join(folder, name)
    if (name.includes(".")) writeFileSync(path, "mine\n")
    else mkdirSync(path)
    expect(checkRunPlace(config("m", folder))).toBe("free")
    expect(() => checkRunPlace(config("m", folder, { engine: "torch" }))).toThrow(
      new RegExp(`holds a (file|folder) ${name} that no run wrote`),
    )
  },
)

test("other files of a folder are no reason to refuse it", () => {
  const folder = newFolder()
  writeFileSync(join(folder, "notes.txt"), "mine")
  writeFileSync(join(folder, "dftune.yaml"), "model: m")
  expect(checkRunPlace(config("m", folder))).toBe("free")
})

test("a run's own rows, and a file where the folder should be, are refused", () => {
  const folder = newFolder()
  writeFileSync(join(folder, "config.json"), '{"config":{},"versions":{}}')
  const samples = join(folder, "samples.jsonl")
  writeFileSync(samples, '{"prompt":"1","completion":"2"}\n')
  const reads = { data: { train: [samples] }, resume: true }
  expect(() => checkRunPlace(config("m", folder, reads))).toThrow(/rows are read from its samples/)
  const globbed = { data: { train: [join(folder, "*.jsonl")] }, resume: true }
  expect(() => checkRunPlace(config("m", folder, globbed))).toThrow(/rows are read from its/)
  expect(() => checkRunPlace(config("m", samples))).toThrow(/expected a folder, got a file/)
})

test("the command line: the base model's bytes stay what they are", () => {
  const folder = withModel()
  sumRows(folder, 8)
  cpSync(join(folder, "base"), join(folder, "model"), { recursive: true })
  const weights = readFileSync(join(folder, "model", "model.safetensors"))
  const written = { data: { train: ["sums.jsonl"] }, max_steps: 1, batch_size: 2 }
  writeFileSync(
    join(folder, "dftune.json"),
    JSON.stringify({ ...written, model: "./model", output_dir: "." }),
  )
  const args = [...DFTUNE, "train", "dftune.json"]
  const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" })
  expect(stderr).toMatch(/output_dir \.: this folder holds the model/)
  expect(status).toBe(2)
  expect(readFileSync(join(folder, "model", "model.safetensors")).equals(weights)).toBe(true)
  expect(readdirSync(folder).sort()).toEqual(
    ["base", "dftune.json", "model", "model-start", "sums.jsonl"].sort(),
  )
})

test("a result takes the place of results only", () => {
  const folder = newFolder()
  const model = join(folder, "model")
  mkdirSync(model)
  for (const name of ["config.json", "model.safetensors", "model-00001-of-00002.safetensors"])
    writeFileSync(join(model, name), "")
  keepForeignModel(folder)
  expect(existsSync(model)).toBe(true)
  writeFileSync(join(model, "thesis.txt"), "mine")
  keepForeignModel(folder)
  expect(readFileSync(join(folder, "model.kept-1", "thesis.txt"), "utf8")).toBe("mine")
  writeFileSync(model, "a file")
  keepForeignModel(folder)
  expect(readFileSync(join(folder, "model.kept-2"), "utf8")).toBe("a file")
})

test("starting over removes what a run wrote and nothing else", () => {
  const folder = newFolder()
  const write = (name: string, text = "") => {
    mkdirSync(join(folder, name, ".."), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  write("config.json", '{"config":{},"versions":{}}')
  const own = "events.jsonl samples.jsonl events.superseded.jsonl report.html torch/run-spec.json"
  for (const name of own.split(" ")) write(name, "{}")
  for (const name of ["trainer.json", "model.safetensors"]) write(`checkpoints/step-000005/${name}`)
  write("model/config.json")
  write("model/notes.txt", "mine")
  write("checkpoints/step-000001/thesis.txt", "mine")
  write("export/gguf/model.gguf", "mine")
  write("readme.md", "mine")
  const again = { overwrite_output_dir: true }
  expect(() => checkRunPlace(config("m", folder))).toThrow(/replace it with --overwrite/)
  expect(checkRunPlace(config("m", folder, again))).toBe("run")
  clearRun(folder)
  const left = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = left.filter((entry) => entry.isFile()).map(({ name }) => name)
  expect(files.sort()).toEqual(
    ["config.json", "model.gguf", "notes.txt", "readme.md", "thesis.txt"].sort(),
  )
  expect(existsSync(join(folder, "model.kept-1", "notes.txt"))).toBe(true)
})

test("a folder that is only named like a checkpoint is neither read nor pruned", async () => {
  const folder = newFolder()
  mkdirSync(join(folder, "step-000001"))
  writeFileSync(join(folder, "step-000001", "x"), "mine")
  const written = await writeCheckpointFolder(
    folder,
    {
      progress: { ...START, step: 5 },
      identity: noIdentity,
      writeModel: async () => {},
      tensors: [],
    },
    { limit: 1 },
  )
  expect(await checkpointFolders(folder)).toEqual([written])
  expect(readFileSync(join(folder, "step-000001", "x"), "utf8")).toBe("mine")
})

const record = { config: {}, versions: {} }
const event = (step: number) => ({ type: "checkpoint", time: "", step, path: "" }) as const

/** A run that has told a step, and a folder outside of it with a file in it. */
function strangersRun() {
  const folder = newFolder()
  const [run, outside] = [join(folder, "run"), join(folder, "outside")]
  const made = openRunFolder(run, { record })
  made.append(event(1))
  made.close()
  mkdirSync(outside)
  writeFileSync(join(outside, "mine"), "mine")
  const untouched = () => {
    expect(readdirSync(outside)).toEqual(["mine"])
    expect(readFileSync(join(outside, "mine"), "utf8")).toBe("mine")
  }
  return { folder, run, outside, untouched }
}

describe("a link in a run's folder that leads out of it is not written through", () => {
  const targets = ["mine", ".", "not-there"]
  const cases = GROWING_FILES.flatMap((name) => targets.map((to) => [name, to] as const))
  test.each(cases)("%s to %s", (name, to) => {
    const { run, outside, untouched } = strangersRun()
    rmSync(join(run, name), { force: true })
    symlinkSync(join(outside, to), join(run, name))
    const refusal = new RegExp(
      `${name}: is a link to .*outside.*put the file or folder itself there`,
    )
    for (const more of [{}, { resume: true }, { overwrite_output_dir: true }]) {
      expect(() => checkRunPlace(config("m", run, more))).toThrow(refusal)
    }
    for (const step of [0, 1]) expect(() => openRunFolder(run, { record, step })).toThrow(refusal)
    writeFileSync(join(run, "run.lock"), "{}")
    expect(() => tidyDone(run)).toThrow(refusal)
    untouched()
  })

  test("the page's, TensorBoard's and an export's folder", async () => {
    const { run, outside, untouched } = strangersRun()
    const marks = { tags: ["a"], archived: true }
    for (const name of ["page", "tensorboard", "export"]) symlinkSync(outside, join(run, name))
    expect(() => writeMarks(run, marks)).toThrow(/page: is a link to/)
    expect(() => writeIndex(run, emptyIndex())).toThrow(/page: is a link to/)
    const start = { type: "run.start", time: "2026-01-01T00:00:00Z", step: 0 }
    expect(() => openTensorboard(run).see(start as never)).toThrow(/tensorboard: is a link to/)
    await expect(exportModel(run, { to: "hf" })).rejects.toThrow(/export: is a link to/)
    expect(() => clearRun(run)).toThrow(/tensorboard: is a link to/)
    untouched()
    expect(readMarks(run).tags).toEqual([])
  })

  test("one within the folder, the folder itself as a link, and copies by hard links are written", () => {
    const { folder, run } = strangersRun()
    renameSync(join(run, "events.jsonl"), join(run, "told.jsonl"))
    symlinkSync("told.jsonl", join(run, "events.jsonl"))
    const before = readFileSync(join(run, "told.jsonl"), "utf8")
    symlinkSync(run, join(folder, "named"))
    linkSync(join(run, "told.jsonl"), join(folder, "copy.jsonl"))
    const opened = openRunFolder(join(folder, "named"), { record, step: 1 })
    opened.append(event(2))
    opened.close()
    expect(readFileSync(join(run, "events.jsonl"), "utf8")).toContain('"step":2')
    expect(readFileSync(join(folder, "copy.jsonl"), "utf8")).toBe(before)
  })
})

test("grade, generate and pages leave alone what they did not write, and their own input", async () => {
  const folder = newFolder()
  const samples = join(folder, "samples.jsonl")
  writeFileSync(samples, '{"prompt":"1+1","completion":"3","answer":"2"}\n')
  const rows = join(folder, "rows.jsonl")
  writeFileSync(rows, '{"prompt":"1","completion":"2"}\n')
  const keep = { dedupe: false, maxPerPrompt: undefined, balance: false, seed: 0 }
  const graded = (out: string) => gradeFile(samples, { mode: "lenient", keep, out })
  await expect(graded(samples)).rejects.toThrow(/the samples are read from there/)
  symlinkSync(samples, join(folder, "link.jsonl"))
  await expect(graded(join(folder, "link.jsonl"))).rejects.toThrow(/are read from there/)
  await expect(graded(rows)).rejects.toThrow(/dftune grade did not write it/)
  await expect(graded(folder)).rejects.toThrow(/expected a file, got a folder/)
  expect(readFileSync(samples, "utf8")).toContain("1+1")

  const plan = { rows: [], n: 1, seed: 0 }
  writeFileSync(join(folder, "prompts.jsonl"), '{"prompt":"one line, no newline"}')
  await expect(openSampleFile(join(folder, "prompts.jsonl"), plan)).rejects.toThrow(
    /dftune generate did not write it/,
  )
  const reads = [{ path: samples, what: "the rows" }]
  expect(() => checkPage(samples, reads)).toThrow(/the rows are read from there/)
  expect(() => checkPage(rows)).toThrow(/dftune did not write it/)
  writeFileSync(join(folder, "index.html"), "<!doctype html><title>My page</title>")
  expect(() => checkPage(join(folder, "index.html"))).toThrow(/dftune did not write it/)
  writeFileSync(join(folder, "old.html"), "<!doctype html>\n<title>runs · dftune</title>")
  checkPage(join(folder, "old.html"))
  checkPage(join(folder, "new.html"))
})

test.skipIf(process.platform === "win32")("a device or pipe is no file to put a result in", () => {
  const folder = newFolder()
  execFileSync("mkfifo", [join(folder, "pipe")])
  expect(() => checkPage(join(folder, "pipe"))).toThrow(/a device or pipe/)
  expect(() => checkPage("/dev/null")).toThrow(/a device or pipe/)
})

test("a run that is being written is refused before its checkpoints are read", () => {
  const folder = newFolder()
  writeFileSync(join(folder, "config.json"), '{"config":{},"versions":{}}')
  const unlock = lockFolder(folder)
  for (const more of [{}, { resume: true }, { overwrite_output_dir: true }] as const) {
    expect(() => checkRunPlace(config("m", folder, more))).toThrow(
      `process ${process.pid} on ${hostname()} is writing this run; wait for it`,
    )
  }
  unlock()
  expect(() => checkRunPlace(config("m", folder, { resume: true }))).not.toThrow(/is writing/)
})
