/**
 * Commands on a disk that fills up while they write: a small tmpfs where that can be mounted, else
 * a bound on the size of a file (`ulimit -f`). Nothing half written may be left under a final name.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { drawer } from "./random.ts"
import { RUNS, type RunKind, writeRows } from "./runs.ts"
import type { Trial } from "./trial.ts"

const ROOT = fileURLToPath(new URL("..", import.meta.url))
const BUILT = join(ROOT, "dist/commands/main.js")
const NODE = existsSync(BUILT) ? [BUILT] : ["--import", "tsx", join(ROOT, "src/commands/main.ts")]

interface Disk {
  readonly name: string
  readonly path: string
  /** Before the command in a shell. */
  readonly before: string
  readonly release: () => void
}

/** 0 kilobytes: one that may be read alone. */
function smallDisk(folder: string, name: string, kilobytes: number): Disk {
  const path = join(folder, name)
  mkdirSync(path)
  const options = kilobytes === 0 ? "ro" : `size=${kilobytes}k`
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path]).status === 0
  const release = () => {
    if (mounted) spawnSync("umount", [path])
    rmSync(path, { recursive: true, force: true })
  }
  return { name, path, before: mounted ? "" : `ulimit -f ${Math.max(1, kilobytes)};`, release }
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

/** What the commands read, and where one of them writes. */
interface Place {
  readonly folder: string
  readonly disk: Disk
}

type Command = (place: Place) => readonly string[]

/** A config beside the disk, which is small. */
function configFile({ folder, disk }: Place, settings: object): string {
  const file = join(folder, `${disk.name}.json`)
  const data = { train: [join(folder, "sums.jsonl")], max_length: 64 }
  writeFileSync(file, JSON.stringify({ model: join(folder, "model-start"), data, ...settings }))
  return file
}

const SHORT = { batch_size: 4, max_steps: 4, save_steps: 1, eval_steps: 0 }

/** Training as kills.ts has it, into the disk. */
const training =
  ({ settings, rows = "sums.jsonl" }: RunKind): Command =>
  (place) => {
    const { folder, disk } = place
    const data = { train: [join(folder, rows)], max_length: 64 }
    const engine = { name: "onnx", device: "cpu", threads: 1 }
    const output_dir = join(disk.path, "r")
    return ["train", configFile(place, { data, ...SHORT, engine, output_dir, ...settings })]
  }

const COMMANDS: Readonly<Record<string, Command>> = {
  ...Object.fromEntries(
    Object.entries(RUNS).map(([name, run]) => [`train ${name}`, training(run)]),
  ),
  grade: ({ folder, disk }) => [
    ...["grade", join(folder, "samples.jsonl")],
    ...["--out", join(disk.path, "g.jsonl")],
  ],
  generate: ({ folder, disk }) => [
    ...["generate", join(folder, "model-start"), "--prompts", join(folder, "many-prompts.jsonl")],
    ...["--max-new-tokens", "12", "--out", join(disk.path, "s.jsonl")],
  ],
  eval: ({ folder, disk }) => [
    ...["eval", join(folder, "model-start"), "--suite", join(folder, "problems.jsonl")],
    ...["--max-new-tokens", "12", "--out", join(disk.path, "v")],
  ],
  export: ({ folder, disk }) => [
    ...["export", join(folder, "model-start"), "--to", "hf", "--out", join(disk.path, "e")],
  ],
  convert: ({ folder, disk }) => [
    ...["convert", join(folder, "model-start"), join(disk.path, "c"), "--to", "gguf"],
    ...["--pre", "gpt-2"],
  ],
  study: (place) => {
    const { folder, disk } = place
    const engine = { name: "onnx", device: "cpu", threads: 1 }
    const suite = join(folder, "problems.jsonl")
    const study = {
      config: configFile(place, { batch_size: 4, max_steps: 2, engine }),
      axes: { objective: ["sft", "dft"] },
      evaluations: [{ name: "e", suite, max_new_tokens: 4 }],
      output_dir: join(disk.path, "study"),
    }
    const file = join(folder, `${disk.name}-study.json`)
    writeFileSync(file, JSON.stringify(study))
    return ["study", file]
  },
  preview: (place) => ["preview", configFile(place, {}), "--html", join(place.disk.path, "p.html")],
  init: ({ folder, disk }) => [
    ...["init", join(disk.path, "i"), "--yes", "--model", join(folder, "model-start")],
    ...["--train", join(folder, "sums.jsonl")],
  ],
  prepare: (place) => ["train", configFile(place, {}), "--dry-run"],
}

function writeInputs(folder: string): void {
  writeRows(folder)
  const lines = (name: string, row: object, count: number) =>
    writeFileSync(join(folder, name), `${JSON.stringify(row)}\n`.repeat(count))
  lines("samples.jsonl", { prompt: "1+1", completion: "x".repeat(3000), answer: "2" }, 12)
  lines("many-prompts.jsonl", { prompt: "what is 1 + 2? ".repeat(4) }, 20)
  lines("problems.jsonl", { problem: "what is 1 + 2? ", answer: "3" }, 8)
}

export const fullDisks: Trial = async ({ seed, count, until, folder, say, kinds }) => {
  writeInputs(folder)
  const draw = drawer(seed)
  const cache = join(folder, "cache")
  const failures: string[] = []
  const told: Record<string, number> = {}
  const names = kinds ?? Object.keys(COMMANDS)
  let tried = 0
  for (; tried < count && Date.now() < until; tried++) {
    const kilobytes = draw() < 0.1 ? 0 : 8 * 2 ** draw.whole(8) + draw.whole(16)
    const disk = smallDisk(folder, `disk-${tried}`, kilobytes)
    const name = names[tried % names.length]!
    const place = { folder, disk }
    const isThere = name === "prepare" || (name.startsWith("train") && draw() < 0.2)
    const { status, said } = dftune(
      disk,
      COMMANDS[name]!(place),
      isThere ? join(disk.path, "cache") : cache,
    )
    const what = kilobytes === 0 ? "a read-only disk" : `${kilobytes} kB`
    const repeat = `seed ${seed}, disk ${tried}: ${name} into ${what}`
    const problem = (text: string) => {
      failures.push(`${repeat}: ${text}`)
      say(`disks: ${failures.at(-1)}`)
    }
    if (status !== 0 && status !== 2) problem(`exit ${status}: ${said.slice(-300)}`)
    if (/\n {4}at /.test(said)) problem(`a stack: ${said.slice(-300)}`)
    const namesDisk =
      /disk is full|would be larger|is the file system read-only|file system is read-only/
    if (status === 2 && !namesDisk.test(said))
      problem(`does not name the disk: ${said.slice(-200)}`)
    const damaged = torn(disk.path)
    if (damaged.length > 0) problem(`exit ${status}, torn ${damaged.join(", ")}`)
    const key = `${name} ${status === 0 ? "done" : "refused"}`
    told[key] = (told[key] ?? 0) + 1
    disk.release()
    if (tried % 10 === 9) say(`disks: ${tried + 1} of ${count}, ${failures.length} failures`)
  }
  return { tried, figures: told, failures }
}
