/**
 * The steps of docs/extending.md, made in a copy: they are enough, and each costs what the page
 * says.
 */
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
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"

const ROOT = fileURLToPath(new URL("../../", import.meta.url))
const COPIED = [
  ..."src test docs scripts recipes golden worker README.md CONTRIBUTING.md demo/README.md".split(
    " ",
  ),
  ..."package.json tsconfig.json vitest.config.ts".split(" "),
]

let copy: string
const touched = new Set<string>()
beforeAll(() => {
  copy = mkdtempSync(join(tmpdir(), "dftune-extending-"))
  for (const name of COPIED) cpSync(join(ROOT, name), join(copy, name), { recursive: true })
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"))
})
afterAll(() => rmSync(copy, { recursive: true, force: true }))

function write(path: string, text: string): void {
  touched.add(path)
  mkdirSync(dirname(join(copy, path)), { recursive: true })
  writeFileSync(join(copy, path), text)
}

/** Puts a line before the first that contains `before`. */
function addLine(path: string, before: string, line: string): void {
  const lines = readFileSync(join(copy, path), "utf8").split("\n")
  const at = lines.findIndex((text) => text.includes(before))
  expect(at, `${path} has a line with ${before}`).toBeGreaterThanOrEqual(0)
  write(path, lines.toSpliced(at, 0, line).join("\n"))
}

function passes(...words: string[]): void {
  const vitest = join(ROOT, "node_modules/vitest/vitest.mjs")
  const env = { ...process.env, NO_COLOR: "1" }
  const run = spawnSync(process.execPath, [vitest, "run", ...words], {
    cwd: copy,
    env,
    encoding: "utf8",
  })
  expect(run.status, run.stdout.slice(-3000)).toBe(0)
}

test("a token objective is three files: its own, a line in the table, a row in the docs", () => {
  touched.clear()
  write(
    "src/objectives/focal-dft.ts",
    `import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { constant } from "./expression.ts"

/** DFT with a focal factor: loss = sg(p (1 - p)^g) c. */
export const focalDft = defineObjective({
  name: "focal-dft",
  formula: "sg(p (1-p)^g) c",
  parameters: { g: number(1, [0, 100], "focusing parameter; 0 is DFT") },
  form: ({ g }, { p }) => ({ weight: p.times(constant(1).minus(p).power(g)) }),
  modifiers: MODIFIERS,
})
`,
  )
  addLine(
    "src/objectives/family.ts",
    "import { focal }",
    'import { focalDft } from "./focal-dft.ts"',
  )
  addLine("src/objectives/family.ts", "  focal,", '  "focal-dft": focalDft,')
  addLine(
    "docs/objectives.md",
    "| `luffy`",
    "| `focal-dft` | sg(p (1-p)^g) c | `g` (1) | all | here |",
  )
  passes("test/objectives", "test/config/config.test.ts")
  passes("test/documents/configs.test.ts", "-t", "docs/configuration.md is what")
  expect(touched.size).toBe(3)
}, 240_000)

test("a model family is one file, one line and one golden folder", () => {
  touched.clear()
  const source = readFileSync(join(copy, "src/models/families/qwen2.ts"), "utf8")
  write(
    "src/models/families/newcomer.ts",
    source.replace("export const qwen2", "export const newcomer"),
  )
  addLine(
    "src/models/families/table.ts",
    "import { olmo2 }",
    'import { newcomer } from "./newcomer.ts"',
  )
  addLine("src/models/families/table.ts", "  olmo2,", "  newcomer,")
  const golden = join(copy, "golden/models/newcomer")
  cpSync(join(copy, "golden/models/qwen2"), golden, { recursive: true })
  const config = JSON.parse(readFileSync(join(golden, "config.json"), "utf8"))
  writeFileSync(join(golden, "config.json"), JSON.stringify({ ...config, model_type: "newcomer" }))
  passes("test/models/decoder.test.ts", "-t", "newcomer")
  expect(touched.size).toBe(2)
}, 240_000)

/** Runs a TypeScript file of the copy; its stdout. */
function output(...words: string[]): string {
  const argv = ["--import", import.meta.resolve("tsx"), ...words]
  const run = spawnSync(process.execPath, argv, { cwd: copy, encoding: "utf8" })
  expect(run.status, run.stderr).toBe(0)
  return run.stdout
}

test("a verb is one file and a row", () => {
  touched.clear()
  write(
    "src/commands/hello.ts",
    `import type { Command } from "commander"
import { print } from "./shell/terminal.ts"

export function command(verb: Command): void {
  verb.action(() => print("hello"))
}
`,
  )
  addLine(
    "src/commands/main.ts",
    'name: "doctor"',
    'name: "hello", summary: "says hello", load: () => import("./hello.ts") }, {',
  )
  expect(output("src/commands/main.ts", "hello")).toBe("hello\n")
  expect(touched.size).toBe(2)
})

test("a setting is one key, and its page is made from it", () => {
  touched.clear()
  addLine(
    "src/config/schema.ts",
    "    output_dir: z",
    '    patience: z.number().describe("How long to wait.").default(3),',
  )
  output("scripts/config-reference.ts")
  const page = readFileSync(join(copy, "docs/configuration.md"), "utf8")
  expect(page).toMatch(/\| `patience` \| number \| `3` \| How long to wait. \|/)
  expect(touched.size).toBe(1)
})

test("a row shape is one row of the table", () => {
  touched.clear()
  addLine(
    "src/data/rows/shapes.ts",
    'question("problem-solution", "problem", "solution"),',
    '  { format: "text", keys: ["verse"], read: (row) => ({ example: { kind: "text", text: String(row.verse) }, used: ["verse"] }) },',
  )
  write("rows.jsonl", `${JSON.stringify({ verse: "3 + 4 = 7" })}\n`)
  const config = { model: join(ROOT, "demo/model"), data: { train: "rows.jsonl" } }
  write("config.json", JSON.stringify(config))
  const [line] = output("src/commands/main.ts", "preview", "config.json", "--json").split("\n")
  expect(JSON.parse(line!).text).toContain("3 + 4 = 7")
  expect([...touched].filter((path) => path.startsWith("src/"))).toHaveLength(1)
})
