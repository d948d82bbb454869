import { spawn, spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { newFolder, rowFile, SPECIAL, tinyModel } from "../../data/tiny-model.ts"
import { DFTUNE } from "../../dftune.ts"

function dftune(...args: string[]) {
  // Node 22 warns where both are set, to whatever
  const { FORCE_COLOR: _, ...own } = process.env
  const env = { ...own, NO_COLOR: "1", DFTUNE_CACHE: newFolder() }
  const { status, stdout, stderr } = spawnSync(process.execPath, [...DFTUNE, ...args], {
    encoding: "utf8",
    env,
  })
  return { status, stdout, stderr }
}

/** A config over these rows, and its path. */
function config(rows: readonly unknown[], more = ""): string {
  const path = join(newFolder(), "dftune.yaml")
  writeFileSync(path, `model: ${tinyModel()}\ndata: { train: [${rowFile(rows)}] }\n${more}`)
  return path
}

test("--help lists the verbs; a verb's own help its options", () => {
  const help = dftune("--help")
  expect(help).toMatchObject({ status: 0, stderr: "" })
  for (const verb of ["init", "preview", "train", "doctor", "config"])
    expect(help.stdout).toContain(`  ${verb} `)
  expect(dftune("preview", "--help").stdout).toContain("--html <file>")
  expect(dftune("help", "preview").stdout).toContain("--html <file>")
  expect(dftune("--version").stdout).toMatch(/^\d+\.\d+\.\d+/)
})

test("a wrong command line ends with 2 and says what was meant", () => {
  expect(dftune("previw")).toMatchObject({
    status: 2,
    stdout: "",
    stderr: 'error: unknown command "previw"; did you mean "preview"?\n',
  })
  expect(dftune("preview", "x.yaml", "--jsn")).toMatchObject({
    status: 2,
    stdout: "",
    stderr: expect.stringContaining("--json"),
  })
  expect(dftune("preview")).toMatchObject({
    status: 2,
    stdout: "",
    stderr: expect.stringMatching(
      /missing required argument 'config'\nusage: .*dftune.* preview \[options\] <config>\n$/,
    ),
  })
  expect(dftune("config", "show").stderr).toMatch(/ config show \[options\] <config>\n$/)
  expect(dftune("preview", "x.yaml", "seed=1").stderr).toMatch(
    /too many arguments[\s\S]*settings stand behind --set: --set seed=1\n/,
  )
  expect(dftune("preview", "absent.yaml")).toMatchObject({
    status: 2,
    stdout: "",
    stderr: "error: absent.yaml: no such config; `dftune init` writes one\n",
  })
})

test("config schema prints one JSON document; config show the resolved config", () => {
  const schema = JSON.parse(dftune("config", "schema").stdout) as {
    properties: Record<string, unknown>
  }
  expect(Object.keys(schema.properties)).toContain("learning_rate")
  const path = config([], "seed: 7\n")
  const { stdout } = dftune("config", "show", path, "--set", "learning_rate=0.5")
  expect(JSON.parse(stdout)).toMatchObject({
    seed: 7,
    learning_rate: 0.5,
    engine: { name: "onnx" },
  })
})

test("preview --json prints a line per row and nothing else", () => {
  const { status, stdout, stderr } = dftune(
    "preview",
    config([{ prompt: "a", completion: "é" }, { text: "b" }]),
    "--json",
  )
  expect(status).toBe(0)
  const lines = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  expect(lines).toHaveLength(2)
  expect(lines[0]).toEqual({
    source: expect.stringMatching(/rows.jsonl:1$/),
    text: "aé<eos>",
    token_ids: [97, 0xc3, 0xa9, SPECIAL.eos],
    tokens: ["a", "<0xC3>", "<0xA9>", "<eos>"],
    loss_mask: [0, 1, 1, 1],
    token_class: [0, 0, 0, 1],
    warnings: [],
  })
  expect(stderr).toContain("all 2 rows: 6 tokens, 4 trained (66.7 %)")
})

test("preview brackets what is trained where there is no colour", () => {
  const { stdout } = dftune("preview", config([{ prompt: "a", completion: "é" }]))
  expect(stdout).toContain("a[[é<eos>]]")
})

test("preview says why a run would not start, and ends with 2", () => {
  const bad = dftune("preview", config([{ text: "a" }, { txt: "b" }]))
  expect(bad).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/rows.jsonl:2: expected messages; .*got the keys "txt"/),
  })
  const nothing = dftune(
    "preview",
    config([{ prompt: "abcdef", completion: "g" }]),
    "--set",
    "data.max_length=3",
  )
  expect(nothing).toMatchObject({ status: 2, stderr: expect.stringContaining("nothing to train") })
})

test("preview --html writes one page; text of the rows cannot become markup", () => {
  const page = join(newFolder(), "p.html")
  const { status, stdout } = dftune(
    "preview",
    config([{ text: "<script>alert(1)</script>'\"&" }]),
    "--html",
    page,
  )
  expect({ status, stdout }).toEqual({ status: 0, stdout: "" })
  const html = readFileSync(page, "utf8")
  expect(html.match(/<script>/g)).toHaveLength(1)
  expect(html).not.toMatch(/(src|href)=/)
})

test("a reader that goes away ends preview quietly", async () => {
  const rows = Array.from({ length: 3000 }, (_, i) => ({ text: `${i} ${"x".repeat(200)}` }))
  const child = spawn(process.execPath, [...DFTUNE, "preview", config(rows), "--json"])
  let stderr = ""
  child.stderr.on("data", (data) => {
    stderr += data
  })
  child.stdout.once("data", () => child.stdout.destroy())
  const code = await new Promise((done) => child.on("close", done))
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
})

test("doctor names what is there, as text and as one JSON document", () => {
  const { status, stdout } = dftune("doctor", "--json")
  const { findings } = JSON.parse(stdout) as {
    findings: { name: string; state: string; detail: string }[]
  }
  const state = (name: string) => findings.find((finding) => finding.name === name)?.state
  expect(status).toBe(0)
  expect([state("node"), state("onnxruntime"), state("device cpu"), state("cache")]).toEqual([
    "ok",
    "ok",
    "ok",
    "ok",
  ])
  expect(["ok", "absent"]).toContain(state("device webgpu"))
})

test("doctor says when the cache cannot be written, and ends with 1", () => {
  const folder = newFolder()
  mkdirSync(join(folder, "sub"))
  writeFileSync(join(folder, "file"), "")
  const env = { ...process.env, DFTUNE_CACHE: join(folder, "file", "cache") }
  const { status, stdout } = spawnSync(process.execPath, [...DFTUNE, "doctor"], {
    encoding: "utf8",
    env,
  })
  expect(status).toBe(1)
  expect(stdout).toMatch(/!! cache +cannot be written/)
  expect(existsSync(join(folder, "file"))).toBe(true)
})
