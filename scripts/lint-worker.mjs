/** Lints and checks the format of the Python worker with ruff, where there is a ruff. */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const worker = fileURLToPath(new URL("../worker", import.meta.url))
const fix = process.argv.includes("--fix")
const ruff = (args) => spawnSync("ruff", [...args, worker], { stdio: "inherit" })

const runs = fix ? [["check", "--fix"], ["format"]] : [["check"], ["format", "--check"]]
for (const args of runs) {
  const { error, status } = ruff(args)
  if (error?.code === "ENOENT") {
    console.error("ruff is not installed (pip install ruff): worker/ is not linted")
    break
  }
  if (error) throw error
  if (status !== 0) process.exitCode = status
}
