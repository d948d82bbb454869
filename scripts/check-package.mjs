/**
 * Packs the project as npm would, installs that in an empty folder elsewhere, and uses it from
 * there: the command line, the demo, and the library with its types (the README's example too).
 *
 *     npm run build && node scripts/check-package.mjs
 */
import assert from "node:assert/strict"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))
/**
 * ONNX Runtime's binaries for five platforms are most of it; 8 MB are the playground's two builds.
 */
const MAX_PACKED_BYTES = 140e6
const BELONGS =
  /^(dist|worker|demo\/model|native\/prebuilt|docs|recipes|notebooks|node_modules)\/|^(LICENSE|((demo|native)\/)?README\.md|(CHANGELOG|CONTRIBUTING|AGENTS)\.md|llms\.txt|Containerfile|package\.json)$/
const STRAY =
  /^worker\/tests\/|^dist\/.*(\.map$|\.test\.)|^worker\/.*(__pycache__|\.pyc$|\.py\.orig$)/

const folder = realpathSync(mkdtempSync(join(tmpdir(), "dftune-package-")))
const say = (text) => console.error(`check-package: ${text}`)
// Settings of the run that started this one would reach the inner npm.
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_(config|package|lifecycle)_/i.test(name)),
)
const run = (command, args, cwd) =>
  execFileSync(command, args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    shell: process.platform === "win32",
    env: { ...env, NO_COLOR: "1" },
  })

/** Imports every function that the page names, and calls those that are done in seconds. */
function libraryProgram(page) {
  const names = [...page.matchAll(/^### `(\w+)`/gm)].map(([, name]) => name)
  return `import { ${names.join(", ")} } from "dftune"
import { parseConfig, fitConfig } from "dftune"
const all = { ${names.join(", ")} }
const missing = Object.entries(all).filter(([, each]) => typeof each !== "function")
if (missing.length > 0) throw new Error(String(missing))
const config = parseConfig({ model: "node_modules/dftune/demo/model", data: { train: ["train.jsonl"] } })
const { examples, rows } = await preview(config, { rows: 2 })
const { ways } = await fit(await fitConfig(config.model), { timed: false })
const compared = await compare(["run", "run"])
const runs = "runs" in compared ? compared.runs.length : 0
const looked = (await doctor()).findings.some(({ name }) => name === "device cpu")
console.log(examples.length, rows?.rows, ways.map(({ name }) => name).join(), runs, looked)
`
}

/** What `npm pack` says. Its scripts run here, all but the build: that stands already. */
function packNow() {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  const runScript = (name) => {
    for (const step of scripts[name].split(" && ")) {
      const [program, ...words] = step.split(" ")
      if (step !== "npm run build") run(program, words, root)
    }
  }
  runScript("prepack")
  try {
    return run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], root)
  } finally {
    runScript("postpack")
  }
}

try {
  const [packed] = JSON.parse(packNow())
  const names = packed.files.map(({ path }) => path)
  const stray = names.filter((name) => !BELONGS.test(name) || STRAY.test(name))
  assert.deepEqual(stray, [], "files that do not belong into the package")
  for (const needed of [
    "dist/commands/main.js",
    "dist/commands/help-pages.json",
    "dist/index.d.ts",
    "demo/model/model.safetensors",
    "dist/web/play/index.html",
    "dist/report-view/view.js",
    "dist/web/ort/ort-wasm-simd-threaded.wasm",
    "LICENSE",
  ]) {
    assert(names.includes(needed), `${needed} is not in the package`)
  }
  // npm's page shows the README alone: each of its links names a file that is in the package.
  const readme = run("tar", ["-xzOf", packed.filename, "package/README.md"], folder)
  const links = [...readme.matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, link]) => link)
  const own = `https://unpkg.com/dftune@${packed.version}/`
  for (const link of links) {
    assert.match(link, /^https?:/, "a link of README.md that npm's page cannot follow")
    if (!link.startsWith(own)) continue
    assert(
      names.includes(link.slice(own.length)),
      `README.md links to ${link}, which is not packed`,
    )
  }
  assert(packed.size < MAX_PACKED_BYTES, `the package has ${packed.size} bytes`)
  say(`${names.length} files, ${(packed.size / 1e6).toFixed(2)} MB packed`)

  writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }))
  // Scripts may run and no host but npm's registry is asked: an install must neither fail nor
  // complain.
  const install = ["install", "--prefer-offline", "--no-audit", "--no-fund", `./${packed.filename}`]
  const shell = process.platform === "win32"
  const said = spawnSync("npm", install, { cwd: folder, encoding: "utf8", shell, env })
  assert.equal(said.status, 0, said.stderr)
  assert.doesNotMatch(said.stderr, /warn/i)

  const dftune = (...args) =>
    run(process.execPath, ["node_modules/dftune/dist/commands/main.js", ...args], folder)
  assert.match(dftune("demo", "--help"), /--quick/)
  assert.match(dftune("doctor"), /node/i)
  const model = "node_modules/dftune/demo/model"
  const row = {
    messages: [
      { role: "user", content: "calc 3 + 4" },
      { role: "assistant", content: "The answer is 7." },
    ],
  }
  writeFileSync(join(folder, "train.jsonl"), `${JSON.stringify(row)}\n`.repeat(8))
  const config = {
    model,
    data: { train: ["train.jsonl"] },
    batch_size: 8,
    max_steps: 2,
    eval_steps: 0,
    output_dir: "run",
  }
  writeFileSync(join(folder, "dftune.json"), JSON.stringify(config))
  const events = dftune("train", "dftune.json", "--json")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
  assert.equal(events.at(-1).reason, "done")
  assert.equal(events.filter(({ type }) => type === "step").length, 2)
  dftune("demo", "--quick", "--out", "demo")
  say("the command line trains, and the demo runs")

  // What a TypeScript user's compiler and Node see of the exports.
  writeFileSync(
    join(folder, "use.ts"),
    `import { type Config, parseConfig, train } from "dftune"
const config: Config = parseConfig({ model: "${model}", data: { train: ["train.jsonl"] }, max_steps: 1, batch_size: 8, eval_steps: 0, output_dir: "run-library" })
const { reason, model } = await train(config).result
console.log(reason, typeof model)
`,
  )
  // Every door, the alias, and that there are no others.
  writeFileSync(
    join(folder, "doors.ts"),
    `import * as whole from "dftune"
import { type Sample, LocalSource } from "dftune/generate"
import { exportModel, openGguf } from "dftune/export"
import * as objectives from "dftune/objectives"
import { TabRun, openWebDevice } from "dftune/browser"
const missing = Object.keys(objectives).filter((name) => !(name in whole))
const closed = await import("dftune/" + "graph").then(() => "open", (error) => error.code)
console.log(typeof LocalSource, typeof exportModel, typeof openGguf, typeof TabRun, typeof openWebDevice, missing.length, closed)
export type { Sample }
`,
  )
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc")
  const flags = ["--module", "nodenext", "--target", "es2023", "--strict", "--types", "node"]
  const roots = ["--typeRoots", join(root, "node_modules", "@types")]
  const [, example] = /^```ts\n([\s\S]*?)^```/m.exec(readFileSync(join(root, "README.md"), "utf8"))
  writeFileSync(join(folder, "readme.ts"), example)
  // Each example of the library's page compiles, and so does a program that imports all of it.
  const page = readFileSync(join(root, "docs", "library.md"), "utf8")
  const examples = [...page.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code], i) => {
    writeFileSync(join(folder, `library-${i}.ts`), code)
    return `library-${i}.ts`
  })
  assert(examples.length > 5, "docs/library.md has no examples")
  writeFileSync(join(folder, "library.ts"), libraryProgram(page))
  const sources = ["use.ts", "doors.ts", "readme.ts", "library.ts", ...examples]
  run(process.execPath, [tsc, ...flags, ...roots, ...sources], folder)
  assert.equal(run(process.execPath, ["use.js"], folder).trim(), "done string")
  const doors = run(process.execPath, ["doors.js"], folder).trim()
  assert.equal(
    doors,
    "function function function function function 0 ERR_PACKAGE_PATH_NOT_EXPORTED",
  )
  assert.equal(run(process.execPath, ["library.js"], folder), "2 8 full,lora,int4 2 true\n")
  say("the library trains, its types hold, and its doors are those it names")
} finally {
  rmSync(folder, { recursive: true, force: true })
}
