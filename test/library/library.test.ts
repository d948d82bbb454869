/** Every verb as a function: it returns what `--json` prints, and leaves the process as it was. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import * as library from "../../src/index.ts"
import { quietly } from "./quiet.ts"

const { InputError, loadConfig, parseConfig } = library
const DEMO = fileURLToPath(new URL("../../demo/model", import.meta.url))

let folder: string
let rows: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-library-"))
  rows = join(folder, "rows.jsonl")
  const texts = Array.from({ length: 12 }, (_, i) => ({
    messages: [
      { role: "user", content: `calc ${i} + 4` },
      { role: "assistant", content: `${i} + 4 = ${i + 4}. The answer is ${i + 4}.` },
    ],
  }))
  writeFileSync(rows, texts.map((row) => `${JSON.stringify(row)}\n`).join(""))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const config = (more: object = {}) =>
  parseConfig({
    ...{ model: DEMO, data: { train: [rows], max_length: 64 }, batch_size: 4, max_steps: 2 },
    ...{ eval_steps: 0, engine: { name: "onnx", threads: 1 }, output_dir: join(folder, "run") },
    ...more,
  })

test("the page names each function, and the package has each that the page names", () => {
  const page = readFileSync(new URL("../../docs/library.md", import.meta.url), "utf8")
  const named = [...page.matchAll(/^### `(\w+)`/gm)].map(([, name]) => name!)
  expect(named.length).toBeGreaterThan(5)
  const exported: Record<string, unknown> = { ...library }
  for (const name of named) expect(typeof exported[name], name).toBe("function")
})

test("preview shows rows as tokens", async () => {
  const { examples, rows: found } = await quietly(() => library.preview(config(), { rows: 2 }))
  expect(examples).toHaveLength(2)
  expect(examples[0]!.loss_mask).toHaveLength(examples[0]!.token_ids.length)
  expect(found).toMatchObject({ rows: 12, complete: true })
  const given: unknown[] = []
  const streamed = await library.preview(config(), {
    rows: 3,
    onExample: (e) => void given.push(e),
  })
  expect(streamed.examples).toEqual([])
  expect(given).toHaveLength(3)
  await expect(library.preview(config(), { isEval: true })).rejects.toThrow(InputError)
})

test("probe and fit tell what a run would be", async () => {
  const { sources } = await quietly(() => library.probe(config(), { timed: false, rows: 4 }))
  expect(sources[0]).toMatchObject({ rows: 4 })
  const set = ["batch_size=2", "data.max_length=32"]
  const { ways, batch_size } = await quietly(async () =>
    library.fit(await library.fitConfig(DEMO, { set }), { timed: false }),
  )
  expect(ways.map(({ name }) => name)).toEqual(["full", "lora", "int4"])
  expect(batch_size).toBe(2)
  await expect(library.fit(await library.fitConfig(join(folder, "none")))).rejects.toThrow(
    InputError,
  )
})

test("a run that is aborted stops, and compare has its figures", async () => {
  const path = join(folder, "aborted")
  const stop = new AbortController()
  const run = library.train(config({ output_dir: path, max_steps: 50 }), { signal: stop.signal })
  await quietly(async () => {
    for await (const event of run) if (event.type === "step") stop.abort()
  })
  expect(await run.result).toMatchObject({ reason: "interrupted" })
  const html = join(folder, "compare.html")
  const found = await quietly(() => library.compare([path, path], { html }))
  expect(found).toMatchObject({ runs: [{ state: "interrupted" }, {}], settings: {} })
  expect(readFileSync(html, "utf8")).toContain("<html")
  await expect(library.compare([folder])).rejects.toThrow(InputError)
})

test("doctor looks at the machine", async () => {
  const { dftune, findings } = await quietly(() => library.doctor())
  expect(dftune).toMatch(/^\d/)
  expect(findings.map(({ name }) => name)).toContain("device cpu")
})

test("the schema and a checked config", async () => {
  expect(library.configJsonSchema()).toHaveProperty("properties.learning_rate")
  expect(library.defineConfig({ model: "m", data: { train: "x.jsonl" } })).toHaveProperty("model")
  await expect(loadConfig(join(folder, "none.yaml"))).rejects.toThrow(/no such config/)
})

test("generate gives rows in the order of the prompts, and grade judges them", async () => {
  const prompts = ["calc 1 + 2", { problem: "calc 2 + 2", answer: "4" }]
  const options = { prompts, n: 2, temperature: 0, maxNewTokens: 24, threads: 1 }
  const rows = await quietly(async () => {
    const samples = library.generate(DEMO, options)
    const found = []
    for await (const row of samples) found.push(row)
    expect(await samples.result).toMatchObject({ samples: 4, new_samples: 4 })
    return found
  })
  expect(rows.map(({ seed }) => seed)).toEqual([0, 1, 2, 3])
  expect(rows[2]).toMatchObject({ answer: "4", finish_reason: "stop" })
  await expect(library.generate(DEMO, { ...options, n: 0 }).result).rejects.toThrow(/^n: expected/)
  await expect(library.generate(DEMO, { prompts: [] }).result).rejects.toThrow(InputError)

  const out = join(folder, "samples.jsonl")
  const wrote = library.generate(DEMO, { ...options, prompts: prompts.slice(1), out })
  expect(await wrote.result).toMatchObject({ out, samples: 2 })
  const graded = await quietly(() => library.grade(out))
  expect(graded).toMatchObject({ rows: 2, mode: "lenient", kept: 2 })
  expect(graded.graded).toHaveLength(2)
  expect(graded.graded![0]).toHaveProperty("correct")
  await expect(library.grade(out, { balance: true })).rejects.toThrow(InputError)
})

test("evaluate scores problems, evaluateRows measures rows", async () => {
  const problems = join(folder, "problems.jsonl")
  writeFileSync(problems, '{"problem":"calc 2 + 2","answer":"4"}\n')
  const own = { maxNewTokens: 16, threads: 1, out: join(folder, "evals") }
  const { results } = await quietly(() => library.evaluate(DEMO, { suites: [problems], ...own }))
  expect(results).toMatchObject([{ suite: "problems", problems: 1, n: 1 }])
  const twice = { suites: [problems, `exact:${problems}`], ...own }
  await expect(library.evaluate(DEMO, twice)).rejects.toThrow(/would have one name/)
  const found = await quietly(() =>
    library.evaluateRows(DEMO, { data: [rows], limit: 4, threads: 1, against: DEMO }),
  )
  expect(found).toMatchObject({ measured: "targets", sources: [{ rows: 4 }] })
  const bad = join(folder, "bad.jsonl")
  writeFileSync(bad, '{"nothing": 1}\n')
  const refused = await library.evaluateRows(DEMO, { data: [bad] }).catch((error) => error)
  expect(refused).toBeInstanceOf(InputError)
  expect(refused.message).toContain("bad.jsonl:1")
  expect(refused.message).not.toContain("on_bad_row") // there is no config here
})

test("chat keeps what was said until it is reset", async () => {
  const said: string[] = []
  const talk = await quietly(() => library.chat(DEMO, { temperature: 0, threads: 1 }))
  const onText = (piece: string) => void said.push(piece)
  const first = await quietly(() => talk.ask("calc 1 + 2", { onText }))
  expect(said.join("")).toBe(first.completion)
  talk.reset()
  expect((await talk.ask("calc 1 + 2")).completion).toBe(first.completion)
  const stopped = new AbortController()
  stopped.abort()
  const cut = await talk.ask("calc 3 + 3", { signal: stopped.signal })
  expect(cut.finish_reason).toBe("stopped")
  await talk.close()
})

test("exportModel and convert write a model and read it back", async () => {
  const out = join(folder, "gguf")
  const made = await quietly(() =>
    library.exportModel(DEMO, { to: "gguf", preTokenizer: "gpt-2", out }),
  )
  expect(made.verified.largestError).toBe(0)
  const plain = await quietly(() =>
    library.convert(join(out, made.files[0]!.file), join(folder, "hf")),
  )
  expect(plain.files.map(({ file }) => file)).toContain("model.safetensors")
  await expect(library.exportModel("nope", { to: "hf" })).rejects.toThrow(/nope: no such folder/)
})

test("init looks, asks where it may, and writes a config", async () => {
  const dir = join(folder, "new")
  const answers = [join(folder, "no-such-model"), DEMO, rows, ""]
  const asked: string[] = []
  const told: string[] = []
  const { file, config: said } = await quietly(() =>
    library.init({
      dir,
      ask: async (question) => {
        asked.push(question)
        return answers.shift()!
      },
      onNotice: (text) => void told.push(text),
    }),
  )
  expect(asked.map((question) => question.split(" ")[0])).toEqual([
    ...["Model", "Model", "Training", "Objective"],
  ])
  expect(told.join()).toContain("no-such-model")
  expect(said).toMatchObject({ model: DEMO, data: { train: rows } })
  expect((await loadConfig(file)).model).toBe(DEMO)
  await expect(library.init({ dir })).rejects.toThrow(/is there already/)
})

test("serve listens, downloads nothing, and is gone when it is closed", async () => {
  const serving = await quietly(() => library.serve(folder, { readOnly: true }))
  const headers = { authorization: `Bearer ${serving.token}` }
  const address = `http://127.0.0.1:${serving.port}/v1/models`
  await quietly(async () => {
    expect((await fetch(address)).status).toBe(401)
    expect((await fetch(address, { headers })).status).toBe(200)
  })
  const { isOffline, withoutDownloads } = await import("../../src/hub/offline.ts")
  const later = withoutDownloads(async () => {
    await Promise.resolve()
    return isOffline()
  })
  expect([await later, isOffline()]).toEqual([true, false])
  await serving.close()
  await expect(fetch(address, { headers })).rejects.toThrow()
  await expect(library.serve(join(folder, "none"))).rejects.toThrow(InputError)
  await expect(library.serve(folder, { port: 70_000 })).rejects.toThrow(/^port: expected/)
})

test("study, writeJob and demo refuse what they cannot do, and do what is cheap", async () => {
  const events = fileURLToPath(new URL("../../docs/studies/codes/events.jsonl", import.meta.url))
  const shown = await quietly(() => library.study(events))
  expect(shown!.contrasts.length).toBeGreaterThan(0)
  await expect(library.study("nope.yaml")).rejects.toThrow(/nope.yaml: no such study/)
  await expect(library.studyPlan("nope.yaml")).rejects.toThrow(InputError)
  const elsewhere = config({
    engine: { name: "torch", nproc_per_node: 2 },
    output_dir: join(folder, "job"),
  })
  const job = await quietly(() => library.writeJob("slurm", elsewhere))
  expect(job.submit).toBe("sbatch")
  expect(readFileSync(job.file, "utf8")).toContain("-m torch.distributed.run")
  await expect(library.writeJob("pbs" as "slurm", elsewhere)).rejects.toThrow(InputError)
  await expect(library.demo({ out: folder })).rejects.toThrow(/no demo made/)
  await expect(library.demo({ seeds: 0 })).rejects.toThrow(/^seeds: expected/)
})
