import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { circles, importGraph, reached, SRC } from "./import-graph.ts"

/** A folder imports only folders above it in this list (docs/architecture.md). */
const LAYERS = [
  ..."errors.ts random.ts closest-name.ts plural.ts host graph runtime formats hub text models".split(
    " ",
  ),
  ..."objectives optim grading sandbox rewards trackers config data run report generate".split(" "),
  ..."train browser evaluate engines check export peers first-config study demo server commands".split(
    " ",
  ),
]

const graph = importGraph()
const folderOf = (file: string) => file.split("/")[0]!

test("every source folder is a layer", () => {
  const folders = new Set([...graph.keys()].map(folderOf))
  for (const folder of folders) expect([...LAYERS, "index.ts"]).toContain(folder)
})

test("docs/architecture.md has every layer, in this order", () => {
  const page = readFileSync(join(SRC, "../docs/architecture.md"), "utf8")
  const rows = page.split("\n").filter((line) => line.startsWith("| `"))
  const named = rows.flatMap((row) => [...row.split("|")[1]!.matchAll(/`([^`]+?)\/?`/g)])
  const layers = named.map(([, name]) => name!).filter((name) => LAYERS.includes(name))
  expect(layers).toEqual(LAYERS)
})

test("a folder imports only the folders above it", () => {
  const wrong = [...graph].flatMap(([file, imports]) => {
    const from = folderOf(file)
    const above = LAYERS.slice(0, LAYERS.indexOf(from))
    return imports.flatMap(({ file: to }) => {
      const allowed = !to || folderOf(to) === from || from === "index.ts"
      return allowed || above.includes(folderOf(to)) ? [] : [`${file} -> ${to}`]
    })
  })
  expect(wrong).toEqual([])
})

test("no files import each other in a circle, for types neither", () => {
  expect(circles(graph)).toEqual([])
  expect(circles(importGraph(join(SRC, "../web/src")))).toEqual([])
})

test("no folder or file is named for nothing", () => {
  const bad = [...graph.keys()].filter((file) =>
    /\b(utils?|common|core|helpers?|misc)\b/.test(file),
  )
  expect(bad).toEqual([])
})

/** Folders that run in a browser whole. */
const BROWSER_FOLDERS = [
  ..."browser graph objectives optim runtime/onnx models/adapters".split(" "),
]
/** Of other folders: what a browser takes of them. */
const BROWSER_FILES = [
  ..."runtime/index.ts models/index.ts text/chat-template.ts text/tokenizer.ts".split(" "),
  ..."text/model-chat-template.ts text/stop-tokens.ts data/render.ts data/rows/shapes.ts".split(
    " ",
  ),
  ..."data/order.ts models/files/open-weights.ts models/files/adapter-format.ts".split(" "),
  ..."models/files/stored-tensors.ts generate/local-source.ts train/trainer.ts".split(" "),
  ..."train/policy.ts train/batches.ts train/trained-model.ts train/model-weights.ts".split(" "),
  ..."train/memory-plan.ts train/micro-batch-tokens.ts config/parse-config.ts".split(" "),
  ..."data/read-batch.ts".split(" "),
]
/** Modules and globals that Node alone has. */
const NODE_MODULE = /^(node:|koffi|onnxruntime-node|@huggingface\/hub|yaml|jiti)/
const NODE_GLOBAL = /(?<![.\w"'`-])(process|Buffer|__dirname|__filename|require|setImmediate)\b[.(]/

/** What stands between an entry and a browser. */
function nodeIn(entry: string): string[] {
  return [...reached(graph, entry)].flatMap(([file, path]) => {
    const modules = graph
      .get(file)!
      .filter(({ specifier, typeOnly }) => !typeOnly && NODE_MODULE.test(specifier))
      .map(({ specifier }) => specifier)
    const code = readFileSync(join(SRC, file), "utf8").replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, "")
    const named = NODE_GLOBAL.exec(code)?.[1]
    return [...modules, ...(named ? [named] : [])].map((what) => `${path.join(" -> ")}: ${what}`)
  })
}

test.each([
  ...BROWSER_FILES,
  ...[...graph.keys()].filter((file) =>
    BROWSER_FOLDERS.some((folder) => file.startsWith(`${folder}/`)),
  ),
])("%s runs in a browser: nothing that it loads is Node's", (entry) => {
  expect(graph.has(entry)).toBe(true)
  expect(nodeIn(entry)).toEqual([])
})

test("the search for Node finds it", () => {
  expect(nodeIn("runtime/node.ts").join("\n")).toMatch(/ -> runtime\/native\/koffi\.ts: koffi/)
  expect(nodeIn("formats/json-files.ts")).toContain("formats/json-files.ts: node:fs/promises")
  expect(nodeIn("train/run.ts").join("\n")).toContain("train/run.ts: process")
})
