/**
 * Installs the package as a user does, on several versions of Node and npm, and trains two steps:
 *
 *     node scripts/check-install.mjs [--node 22,24] [--npm 10,11]
 *
 * The other versions come from npm's registry (packages `node` and `npm`), as a mirror has it;
 * nothing else is asked. An install that fails, or warns of anything, ends this with exit code 1.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"

const root = fileURLToPath(new URL("..", import.meta.url))
const { values } = parseArgs({
  options: {
    node: { type: "string", default: "20,22,24" },
    npm: { type: "string", default: "10,11" },
    /** A package that is there already, in place of one made now. */
    package: { type: "string" },
  },
})
const folder = realpathSync(mkdtempSync(join(tmpdir(), "dftune-install-")))
const own = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_(config|package|lifecycle)_/i.test(name)),
)
const say = (text) => console.error(`check-install: ${text}`)
const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--prefix"]

/** Fetches a package into a folder of its own. */
function fetched(name) {
  const place = join(folder, name.replace("@", "-"))
  mkdirSync(place)
  execFileSync("npm", ["install", ...quiet, place, name], { env: own, stdio: "pipe" })
  return join(place, "node_modules", name.split("@")[0])
}

/**
 * The binary of a major version: this process's, or that of the package `node` for this platform.
 */
function nodeOf(major) {
  if (process.versions.node.startsWith(`${major}.`)) return process.execPath
  const { arch } = process
  const platform = process.platform === "win32" ? "win" : process.platform
  const version = execFileSync("npm", ["view", `node@${major}`, "version", "--json"], { env: own })
  const number = (text) => text.split(".").reduce((sum, part) => 1000 * sum + Number(part), 0)
  const all = [JSON.parse(version)].flat()
  const newest = all.toSorted((a, b) => number(a) - number(b)).at(-1)
  const binary = process.platform === "win32" ? "bin/node.exe" : "bin/node"
  return join(fetched(`node-${platform}-${arch}@${newest}`), binary)
}

const npmOf = (major) => {
  const place = fetched(`npm@${major}`)
  const { version } = JSON.parse(readFileSync(join(place, "package.json"), "utf8"))
  return { cli: join(place, "bin", "npm-cli.js"), version }
}

const row = {
  messages: [
    { role: "user", content: "calc 3 + 4" },
    { role: "assistant", content: "The answer is 7." },
  ],
}

function tried(node, npm, tarball) {
  const place = mkdtempSync(join(folder, "user-"))
  const env = { ...own, PATH: `${dirname(node)}${delimiter}${own.PATH}`, NO_COLOR: "1" }
  const run = (args, cwd = place) => spawnSync(node, args, { cwd, env, encoding: "utf8" })
  writeFileSync(join(place, "package.json"), JSON.stringify({ private: true }))
  writeFileSync(join(place, "train.jsonl"), `${JSON.stringify(row)}\n`.repeat(8))
  const problems = []
  for (const args of [
    ["install", tarball],
    ["install", "--global", "--prefix", join(place, "global"), tarball],
  ]) {
    const { status, stderr } = run([npm, ...args, "--prefer-offline"])
    if (status !== 0) problems.push(`npm ${args[0]}: exit code ${status}`)
    // settings of this machine's own npm are no fault of the package
    const lines = stderr.split("\n").filter((line) => !/Unknown \w+ config/.test(line))
    problems.push(...lines.filter((line) => /warn|error/i.test(line)))
  }
  const main = join(place, "node_modules", "dftune", "dist", "commands", "main.js")
  const model = join(place, "node_modules", "dftune", "demo", "model")
  const rows = ["--model", model, "--train", "train.jsonl"]
  const short = ["--set", "max_steps=2", "output_dir=run", "data.eval_split=0"]
  for (const args of [["doctor"], ["init", "--yes", ...rows], ["train", "dftune.yaml", ...short]]) {
    const { status, stderr } = run([main, ...args])
    if (status !== 0) problems.push(`dftune ${args[0]}: exit code ${status}: ${stderr.slice(-500)}`)
    problems.push(
      ...stderr.split("\n").filter((line) => /DeprecationWarning|Experimental/.test(line)),
    )
  }
  rmSync(place, { recursive: true, force: true })
  return problems
}

try {
  const packed = values.package ?? pack()
  let failed = false
  const npms = values.npm.split(",").map(npmOf)
  for (const node of values.node.split(",").map(nodeOf)) {
    for (const npm of npms) {
      const problems = tried(node, npm.cli, packed)
      const version = execFileSync(node, ["--version"], { encoding: "utf8" }).trim()
      say(
        `node ${version}, npm ${npm.version}: ${problems.length === 0 ? "installs and trains" : ""}`,
      )
      for (const problem of problems) say(`  ${problem}`)
      failed ||= problems.length > 0
    }
  }
  if (failed) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}

function pack() {
  const args = ["pack", "--json", "--pack-destination", folder]
  const text = execFileSync("npm", args, { cwd: root, env: own, encoding: "utf8" })
  return join(folder, JSON.parse(text.slice(text.indexOf("[")))[0].filename)
}
