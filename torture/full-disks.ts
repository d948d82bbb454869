/**
 * Commands on a disk that fills up while they write: a small tmpfs where that can be mounted, else
 * a bound on the size of a file (`ulimit -f`). Nothing half written may be left under a final name.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { sumRows, tinyModel } from "../test/train/tiny-model.ts"
import { drawer } from "./random.ts"
import type { Trial } from "./trial.ts"

const ROOT = fileURLToPath(new URL("..", import.meta.url))
const BUILT = join(ROOT, "dist/commands/main.js")
const NODE = existsSync(BUILT) ? [BUILT] : ["--import", "tsx", join(ROOT, "src/commands/main.ts")]

interface Disk {
  readonly path: string
  /** Before the command in a shell. */
  readonly before: string
  readonly release: () => void
}

function smallDisk(folder: string, name: string, kilobytes: number): Disk {
  const path = join(folder, name)
  mkdirSync(path)
  const options = `size=${kilobytes}k`
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path]).status === 0
  const release = () => {
    if (mounted) spawnSync("umount", [path])
    rmSync(path, { recursive: true, force: true })
  }
  return { path, before: mounted ? "" : `ulimit -f ${kilobytes};`, release }
}

function dftune(disk: Disk, args: readonly string[], cache: string) {
  const command = `${disk.before} exec "$0" "$@"`
  const { status, stderr, stdout } = spawnSync(
    "bash",
    ["-c", command, process.execPath, ...NODE, ...args],
    {
      cwd: ROOT,
      encoding: "utf8",
      env: { ...process.env, DFTUNE_CACHE: cache, TSX_DISABLE_CACHE: "1" },
    },
  )
  return { status, said: `${stdout}${stderr}` }
}

const isJson = (text: string) => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Files under their final names that are not whole. */
function torn(folder: string): string[] {
  if (!existsSync(folder)) return []
  const found: string[] = []
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name.endsWith(".tmp") || entry.name.includes("run.lock")) continue
    const path = join(entry.parentPath, entry.name)
    if (/\/(\.step-|model\.[^/]*\.tmp)/.test(path)) continue
    const text = readFileSync(path)
    if (entry.name.endsWith(".json") && !isJson(text.toString("utf8"))) found.push(path)
    if (entry.name.endsWith(".jsonl") && text.length > 0 && text.at(-1) !== 0x0a) found.push(path)
    if (entry.name.endsWith(".safetensors")) {
      const header = text.length < 8 ? 0 : Number(text.readBigUInt64LE(0))
      if (header === 0 || header > text.length) found.push(path)
    }
  }
  return found
}

export const fullDisks: Trial = async ({ seed, count, until, folder, say }) => {
  tinyModel(folder)
  sumRows(folder, 40)
  const draw = drawer(seed)
  const samples = join(folder, "samples.jsonl")
  const row = { prompt: "1+1", completion: "x".repeat(3000), answer: "2" }
  writeFileSync(samples, `${JSON.stringify(row)}\n`.repeat(12))
  const prompts = join(folder, "prompts.jsonl")
  writeFileSync(prompts, `${JSON.stringify({ prompt: "what is 1 + 2? ".repeat(4) })}\n`.repeat(20))
  const model = join(folder, "model-start")
  const cache = join(folder, "cache")
  const failures: string[] = []
  const told: Record<string, number> = {}
  let tried = 0
  for (; tried < count && Date.now() < until; tried++) {
    const kilobytes = 8 * 2 ** draw.whole(6) + draw.whole(16)
    const disk = smallDisk(folder, `disk-${tried}`, kilobytes)
    const commands = {
      train: () => {
        const config = {
          ...{ model, data: { train: [join(folder, "sums.jsonl")], max_length: 64 } },
          ...{ batch_size: 4, max_steps: 4, save_steps: 1, eval_steps: 0 },
          ...{
            engine: { name: "onnx", device: "cpu", threads: 1 },
            output_dir: join(disk.path, "r"),
          },
        }
        const file = join(folder, `train-${tried}.json`)
        writeFileSync(file, JSON.stringify(config))
        return dftune(disk, ["train", file], cache)
      },
      grade: () => dftune(disk, ["grade", samples, "--out", join(disk.path, "g.jsonl")], cache),
      generate: () => {
        const args = ["generate", model, "--prompts", prompts, "--max-new-tokens", "12"]
        return dftune(disk, [...args, "--out", join(disk.path, "s.jsonl")], cache)
      },
      export: () =>
        dftune(disk, ["export", model, "--to", "hf", "--out", join(disk.path, "e")], cache),
      prepare: () => {
        const config = { model, data: { train: [join(folder, "sums.jsonl")], max_length: 64 } }
        const file = join(folder, `prepare-${tried}.json`)
        writeFileSync(file, JSON.stringify(config))
        return dftune(disk, ["train", file, "--dry-run"], join(disk.path, "cache"))
      },
    }
    const name = draw.of(Object.keys(commands)) as keyof typeof commands
    const { status, said } = commands[name]()
    const repeat = `seed ${seed}, disk ${tried}: ${name} into ${kilobytes} kB`
    if (status !== 0 && status !== 2)
      failures.push(`${repeat}: exit ${status}: ${said.slice(-300)}`)
    if (/\n {4}at /.test(said)) failures.push(`${repeat}: a stack: ${said.slice(-300)}`)
    if (status === 2 && !/disk is full|would be larger/.test(said)) {
      failures.push(`${repeat}: does not name the disk: ${said.slice(-200)}`)
    }
    const damaged = torn(disk.path)
    if (damaged.length > 0) failures.push(`${repeat}: exit ${status}, torn ${damaged.join(", ")}`)
    const key = `${name} ${status === 0 ? "done" : "refused"}`
    told[key] = (told[key] ?? 0) + 1
    disk.release()
    if (tried % 10 === 9) say(`disks: ${tried + 1} of ${count}, ${failures.length} failures`)
  }
  return { tried, figures: told, failures }
}
