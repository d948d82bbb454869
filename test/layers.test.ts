import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"

const SRC = fileURLToPath(new URL("../src", import.meta.url))

/** A folder imports only folders above it in this list (docs/architecture.md). */
const LAYERS = [
  ..."errors.ts random.ts closest-name.ts host graph runtime formats hub text models".split(" "),
  ..."objectives optim grading rewards trackers config data run report generate train".split(" "),
  ..."evaluate engines export peers study demo server commands".split(" "),
]

interface Import {
  readonly file: string
  readonly from: string
  readonly to: string
}

function sourceFiles(): string[] {
  return (readdirSync(SRC, { recursive: true, encoding: "utf8" }) as string[])
    .filter((file) => file.endsWith(".ts"))
    .map((file) => join(SRC, file))
}

function imports(file: string): Import[] {
  const from = relative(SRC, file).split("/")[0]!
  const pattern = /(?:from|import)\s*\(?\s*"(\.{1,2}\/[^"]+)"/g
  return [...readFileSync(file, "utf8").matchAll(pattern)].map((match) => {
    const target = relative(SRC, resolve(dirname(file), match[1]!))
    return { file: relative(SRC, file), from, to: target.split("/")[0]! }
  })
}

const files = sourceFiles()

test("every source folder is a layer", () => {
  const folders = new Set(files.map((file) => relative(SRC, file).split("/")[0]!))
  for (const folder of folders) expect([...LAYERS, "index.ts"]).toContain(folder)
})

test("a folder imports only the folders above it", () => {
  const wrong = files.flatMap(imports).filter(({ from, to }) => {
    if (from === to || from === "index.ts") return false
    return !LAYERS.slice(0, LAYERS.indexOf(from)).includes(to)
  })
  expect(wrong).toEqual([])
})

test("no folder or file is named for nothing", () => {
  const bad = files.filter((file) =>
    /\b(utils?|common|core|helpers?|misc)\b/.test(relative(SRC, file)),
  )
  expect(bad).toEqual([])
})

test("graph, models and objectives run in a browser: no Node imports", () => {
  const browser = files.filter((file) => /^(graph|objectives)\//.test(relative(SRC, file)))
  const wrong = browser.filter((file) => /from "node:/.test(readFileSync(file, "utf8")))
  expect(wrong).toEqual([])
})
