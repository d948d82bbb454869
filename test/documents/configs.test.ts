import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { parse } from "yaml"
import { agentsPage, llmsText } from "../../scripts/agent-pages.ts"
import { configReference } from "../../scripts/config-reference.ts"
import { objectivesPage } from "../../scripts/objective-operators.ts"
import { loadConfig } from "../../src/config/index.ts"
import { parseConfig } from "../../src/config/parse-config.ts"
import { loadStudy } from "../../src/study/load-study.ts"
import { studyFields } from "../../src/study/study-schema.ts"
import { dftuneCalls, unknownWords } from "./command-lines.ts"

const ROOT = fileURLToPath(new URL("../../", import.meta.url))

const filesBelow = (folder: string, ending: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name))

const PAGES = [
  "README.md",
  "CONTRIBUTING.md",
  ...readdirSync(join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md") && name !== "log.md")
    .map((name) => join("docs", name)),
  ...filesBelow("recipes", ".md"),
  "demo/README.md",
]

function blocks(page: string, language: string): string[] {
  const text = readFileSync(join(ROOT, page), "utf8")
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm")
  return [...text.matchAll(fence)].map(([, block]) => block!)
}

test.each([...filesBelow("recipes", ".yaml"), "demo/pretrain.yaml", "demo/anneal.yaml"])(
  "%s is a valid config",
  async (path) => {
    if (path.startsWith(join("recipes", "studies"))) {
      const { design } = await loadStudy(join(ROOT, path))
      expect(design.contrasts.length).toBeGreaterThan(0)
      return
    }
    const config = await loadConfig(join(ROOT, path))
    expect(config.data.train.length).toBeGreaterThan(0)
  },
)

const yamlBlocks = PAGES.flatMap((page) => blocks(page, "yaml").map((block) => ({ page, block })))

test("every YAML block of the docs holds known keys", () => {
  expect(yamlBlocks.length).toBeGreaterThan(0)
  for (const { page, block } of yamlBlocks) {
    // A block may show several ways to write one key, a line each.
    const alternatives = /^(\w+):.*\n\1:/m.test(block) ? block.trim().split("\n") : [block]
    for (const text of alternatives) {
      const value = parse(text) as Record<string, unknown>
      if ("axes" in value) {
        expect(() => studyFields.parse(value), `${page}:\n${text}`).not.toThrow()
        continue
      }
      const whole = { model: "m", data: { train: ["t.jsonl"] }, ...value }
      expect(() => parseConfig(whole), `${page}:\n${text}`).not.toThrow()
    }
  }
})

test("docs/configuration.md is what the schema says", () => {
  const written = readFileSync(join(ROOT, "docs/configuration.md"), "utf8")
  expect(written, "run npx tsx scripts/config-reference.ts").toBe(configReference())
})

test("docs/objectives.md lists the operators that the code has", () => {
  const written = readFileSync(join(ROOT, "docs/objectives.md"), "utf8")
  expect(written, "run npx tsx scripts/objective-operators.ts").toBe(objectivesPage(written))
})

test("AGENTS.md and llms.txt are what the code says", () => {
  const written = (name: string) => readFileSync(join(ROOT, name), "utf8")
  const hint = "run npx tsx scripts/agent-pages.ts"
  expect(written("AGENTS.md"), hint).toBe(agentsPage())
  expect(written("llms.txt"), hint).toBe(llmsText())
})

const calls = PAGES.flatMap((page) =>
  blocks(page, "sh").flatMap((block) => dftuneCalls(block).map((words) => ({ page, words }))),
)

test("every dftune command of the docs names verbs and options that exist", async () => {
  expect(calls.length).toBeGreaterThan(10)
  for (const { page, words } of calls) {
    expect(await unknownWords(words), `${page}: dftune ${words.join(" ")}`).toEqual([])
  }
})

test("every relative link of the docs leads to a file", () => {
  for (const page of PAGES) {
    const text = readFileSync(join(ROOT, page), "utf8")
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g)) {
      const path = join(ROOT, page, "..", target!)
      expect(existsSync(path), `${page} links to ${target}`).toBe(true)
    }
  }
})
