/** A Python interpreter in a process of its own, without rights, spoken to line by line. */
import { type ChildProcess, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, realpathSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { InputError } from "../errors.ts"
import { fileHash, readTextFile, writeFileAtomic } from "../formats/index.ts"
import { cacheFolder } from "../host/cache-folder.ts"
import { killGroup } from "../host/process-group.ts"
import { PYTHON_CHILD_SOURCE } from "./python-child-source.ts"
import { PERMISSION } from "./sealed-child.ts"

export type Mode = "program" | "check" | "snapshot"

export interface PythonProcess {
  /** Sends a line, and waits for the next one back; undefined once the process has ended. */
  ask(request: unknown): Promise<Record<string, unknown> | undefined>
  kill(): void
}

interface PythonOptions {
  /** Megabytes that the interpreter may take. */
  readonly megabytes: number
  readonly snapshot: string | null
}

/** Of a value, and of all that a program prints. */
const CHARACTERS = 1e6

/** Pyodide's folder, which is all that the process may read. */
function pyodide(): { readonly folder: string; readonly version: string } {
  const folder = dirname(realpathSync(createRequire(import.meta.url).resolve("pyodide")))
  const { version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    version: string
  }
  return { folder, version }
}

function spawned(mode: Mode, { megabytes, snapshot }: PythonOptions): ChildProcess {
  const { folder } = pyodide()
  const readable = [`${folder}/*`, ...(snapshot === null ? [] : [snapshot])]
  const flags = ["--disallow-code-generation-from-strings", "--no-warnings", PERMISSION]
  const child = spawn(
    process.execPath,
    [...flags, ...readable.map((path) => `--allow-fs-read=${path}`), "--eval", PYTHON_CHILD_SOURCE],
    { env: {}, stdio: ["pipe", "pipe", "ignore"], detached: true, cwd: folder },
  )
  child.stdin!.on("error", () => {})
  const packageFile = join(folder, "pyodide.mjs")
  const memoryBytes = megabytes * 2 ** 20
  const setting = { mode, packageFile, snapshot, memoryBytes, characters: CHARACTERS }
  child.stdin!.write(`${JSON.stringify(setting)}\n`)
  return child
}

/**
 * Starts an interpreter; some 0.5 s of CPU from the snapshot, 3 s without.
 *
 * @throws InputError where it does not start
 */
export async function startPython(
  mode: Exclude<Mode, "snapshot">,
  options: PythonOptions,
): Promise<PythonProcess> {
  const child = spawned(mode, options)
  const next = lines(child)
  const parsed = async () => {
    const line = await next()
    if (line === undefined) return undefined
    try {
      return JSON.parse(line) as Record<string, unknown>
    } catch {
      killGroup(child) // what a program wrote past its interpreter
      return undefined
    }
  }
  const process: PythonProcess = {
    ask(request) {
      child.stdin!.write(`${JSON.stringify(request)}\n`)
      return parsed()
    },
    kill: () => killGroup(child),
  }
  const started = await parsed()
  if (started?.ready === true) return process
  killGroup(child)
  throw new InputError(
    `the sandbox for Python does not start: ${String(started?.problem ?? "its process ended")}`,
  )
}

/** The lines of a process's output, one after the other; undefined after the last. */
function lines(child: ChildProcess): () => Promise<string | undefined> {
  const ready: string[] = []
  const waiting: ((line: string | undefined) => void)[] = []
  let text = ""
  let ended = false
  const push = (line: string): void => {
    const first = waiting.shift()
    if (first) first(line)
    else ready.push(line)
  }
  const end = (): void => {
    ended = true
    for (const wait of waiting.splice(0)) wait(undefined)
  }
  child.stdout!.setEncoding("utf8").on("data", (part: string) => {
    const parts = (text + part).split("\n")
    text = parts.pop()!
    for (const line of parts) push(line)
    if (text.length > 2 * CHARACTERS) killGroup(child)
  })
  child.once("close", end)
  child.once("error", end)
  return async () => {
    const line = ready.shift()
    if (line !== undefined || ended) return line
    return new Promise((resolve) => waiting.push(resolve))
  }
}

let made: Promise<string | null> | undefined

type Notice = ((message: string) => void) | undefined

/**
 * A picture of an interpreter's memory, from which others start in a sixth of the time; made once a
 * machine (31 MB in dftune's cache), and anew where it is not what was written. Null where it
 * cannot be made: then each starts by itself.
 */
export function pythonSnapshot(
  folder = join(cacheFolder(), "sandbox"),
  onNotice?: Notice,
): Promise<string | null> {
  made ??= snapshotIn(folder, onNotice).catch(() => null)
  return made
}

/** As {@link pythonSnapshot}, each time. */
export async function snapshotIn(folder: string, onNotice?: Notice): Promise<string | null> {
  const [node] = process.versions.node.split(".")
  const path = join(folder, `python-${pyodide().version}-node-${node}.snapshot`)
  // one without a sum beside it is of an earlier version
  const sum = `${path}.sha256`
  if (existsSync(path) && existsSync(sum)) {
    if (await isSum(path, sum)) return realpathSync(path)
    onNotice?.(`${path}: was damaged and is made anew; nothing is lost`)
  }
  mkdirSync(folder, { recursive: true })
  const child = spawned("snapshot", { megabytes: 512, snapshot: null })
  const parts: Buffer[] = []
  child.stdout!.on("data", (part: Buffer) => parts.push(part))
  const code = await new Promise((resolve) => child.once("close", resolve))
  const bytes = Buffer.concat(parts)
  if (code !== 0 || bytes.length < 1e6) return null
  await writeFileAtomic(sum, createHash("sha256").update(bytes).digest("hex"))
  await writeFileAtomic(path, bytes)
  return realpathSync(path)
}

const isSum = async (path: string, sum: string): Promise<boolean> =>
  (await fileHash(path)) === (await readTextFile(sum))
