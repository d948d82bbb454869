import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest"
import { type ConfigInput, parseConfig } from "../../src/config/index.ts"
import { mendedFaults } from "../../src/data/mended.ts"
import { runHere } from "../../src/train/run.ts"
import { tinyModel } from "./tiny-model.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-rows-"))
afterAll(() => rmSync(folder, { recursive: true }))
let runs = 0
let at = ""
beforeEach(() => {
  at = join(folder, String(runs++))
  process.env.DFTUNE_CACHE = join(at, "cache")
})
afterEach(() => vi.useRealTimers())

const TEMPLATE =
  "{{ strftime_now('%d.%m.') }}{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}assistant: {% endif %}"

function setUp({ template, rows }: { template: string; rows: readonly object[] }): ConfigInput {
  const model = tinyModel(at, "qwen2")
  const path = join(model, "tokenizer_config.json")
  const config = JSON.parse(readFileSync(path, "utf8")) as object
  writeFileSync(path, JSON.stringify({ ...config, chat_template: template }))
  const train = join(at, "rows.jsonl")
  writeFileSync(train, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  return {
    ...{ model, output_dir: join(at, "run"), batch_size: 1, max_steps: 4, save_steps: 2 },
    ...{ save_total_limit: null, data: { train: [train], max_length: 64 } },
  }
}

async function trained(input: ConfigInput): Promise<number[]> {
  const losses: number[] = []
  for await (const event of runHere(parseConfig(input)))
    if (event.type === "step") losses.push(event.loss)
  return losses
}

test("a resumed run keeps the day that its template was told when it began", async () => {
  const rows = [
    {
      messages: [
        { role: "user", content: "q" },
        { role: "assistant", content: "a" },
      ],
    },
  ]
  const input = setUp({ template: TEMPLATE, rows })
  vi.useFakeTimers({ now: new Date("2026-11-29T20:00:00"), toFake: ["Date"] })
  const whole = await trained(input)
  vi.setSystemTime(new Date("2026-11-30T20:00:00"))
  rmSync(join(at, "cache"), { recursive: true })
  expect(await trained({ ...input, resume: true })).toEqual(whole.slice(2))
  const { versions } = JSON.parse(readFileSync(join(at, "run", "config.json"), "utf8")) as {
    versions: { day: string }
  }
  expect(versions.day).toBe("2026-11-29")
  // a new run is told its own day, which is part of what its rows are known by
  await trained({ ...input, output_dir: join(at, "other") })
  expect(readdirSync(join(at, "cache", "prepared"))).toHaveLength(2)
})

test("rows that this version makes otherwise: which, why, and how to go on with them", async () => {
  const golden = fileURLToPath(new URL("../../golden/0.1.0/", import.meta.url))
  cpSync(golden, at, { recursive: true })
  const here = process.cwd()
  process.chdir(at)
  try {
    const { runs } = JSON.parse(readFileSync("expected.json", "utf8")) as {
      runs: { full: { settings: ConfigInput } }
    }
    const { settings } = runs.full
    // a row as 0.1.0 trained it, which says that it is not to be trained: the old rows stand in its
    // cache
    const lines = readFileSync("rows.jsonl", "utf8").trim().split("\n")
    const changed = lines.map((line, i) =>
      i === 1 ? JSON.stringify({ ...(JSON.parse(line) as object), label: false }) : line,
    )
    writeFileSync("rows.jsonl", `${changed.join("\n")}\n`)
    await expect(trained({ ...settings, resume: true })).rejects.toThrow(
      /of the rows of this run 1 are left out \(rows\.jsonl:2\)\. .*--keep-rows goes on with the rows as they were/,
    )
    const kept = await trained({ ...settings, resume: true, keep_rows: true })
    expect(kept.length).toBeGreaterThan(0)
  } finally {
    process.chdir(here)
  }
})

test("the faults of 0.1.0 that a row meets are named", async () => {
  const faultsOf = async (row: object) => {
    const { model, data } = setUp({ template: TEMPLATE, rows: [row] })
    const [path] = data.train as string[]
    return mendedFaults({ sources: [{ path: path!, weight: 1 }], tokenizer: model }, [`${path}:1`])
  }
  const user = { role: "user", content: "q" }
  const answer = { role: "assistant", content: "a" }
  expect(await faultsOf({ question: "q", answer: "a", system: "s" })).toEqual([
    "questions did not go through the chat template (data.template: none keeps them as they were)",
    "system of a row was not read",
  ])
  expect(await faultsOf({ messages: [user, answer], label: false })).toEqual([
    "a row that says it is not to be trained (label: false) was trained",
  ])
  expect(await faultsOf({ messages: [user, { ...answer, weight: 0 }, user, answer] })).toEqual([
    "messages that say they are not to be trained were trained",
  ])
  expect(await faultsOf({ messages: [user, answer] })).toEqual([
    "the chat template was not run as Jinja2 runs it",
  ])
})
