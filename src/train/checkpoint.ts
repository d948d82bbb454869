import { randomUUID } from "node:crypto"
import { existsSync } from "node:fs"
import { mkdir, readdir, readFile, rename, rm, stat } from "node:fs/promises"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import {
  fileHash,
  flushFolder,
  openSafetensors,
  parseJson,
  type TensorToWrite,
  writeFileAtomic,
  writeSafetensors,
} from "../formats/index.ts"
import { float32, type HostTensor } from "../runtime/index.ts"
import type { Progress } from "./trainer.ts"

const VERSION = 1
const STATE_FILE = "trainer.json"
const TENSOR_FILE = "trainer.safetensors"

/** What a run must have in common with the checkpoint it continues, by name. */
export type Fingerprint = Readonly<Record<string, string>>

interface StateFile {
  readonly version: number
  readonly progress: Progress
  readonly fingerprint: Fingerprint
  /** Every other file of the folder. */
  readonly files: Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>
}

export interface CheckpointContent {
  readonly progress: Progress
  readonly fingerprint: Fingerprint
  /** Writes the model's or the adapter's files into a folder. */
  readonly writeModel: (folder: string) => Promise<void>
  readonly tensors: readonly TensorToWrite[]
}

export interface Checkpoint {
  readonly path: string
  readonly progress: Progress
  /** The optimizer's moments and whatever else was saved, by name. */
  readonly tensors: ReadonlyMap<string, HostTensor>
}

export function checkpointName(step: number): string {
  return `step-${String(step).padStart(6, "0")}`
}

async function describeFiles(folder: string): Promise<StateFile["files"]> {
  const files: Record<string, { bytes: number; sha256: string }> = {}
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name)
    files[name] = { bytes: (await stat(path)).size, sha256: await fileHash(path) }
  }
  return files
}

/**
 * Writes a checkpoint whole or not at all: into a folder beside its name, flushed, then renamed.
 * Only after that are checkpoints past `limit` removed, the oldest first. Returns its path.
 *
 * @throws InputError when the disk is full; earlier checkpoints are untouched
 */
export async function writeCheckpointFolder(
  folder: string,
  content: CheckpointContent,
  { limit }: { readonly limit: number | null },
): Promise<string> {
  const path = join(folder, checkpointName(content.progress.step))
  const temporary = join(folder, `.${checkpointName(content.progress.step)}-${randomUUID()}`)
  try {
    await mkdir(temporary, { recursive: true })
    await content.writeModel(temporary)
    await writeSafetensors(join(temporary, TENSOR_FILE), content.tensors)
    const state: StateFile = {
      version: VERSION,
      progress: content.progress,
      fingerprint: content.fingerprint,
      files: await describeFiles(temporary),
    }
    await writeFileAtomic(join(temporary, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`)
    await flushFolder(temporary)
    if (isCheckpoint(path)) await rm(path, { recursive: true })
    await rename(temporary, path)
    await flushFolder(folder)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    if (!isDiskFull(error)) throw error
    throw new InputError(
      `${path}: the disk is full; earlier checkpoints are whole. Free some space ` +
        "(or lower save_total_limit) and go on with --resume",
      { cause: error },
    )
  }
  if (limit !== null) await prune(folder, limit)
  return path
}

/** Said by the file system, or by whoever wrote a file for us. */
function isDiskFull(error: unknown): boolean {
  const { code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException }
  return (code ?? cause?.code) === "ENOSPC"
}

/** Whether a run wrote this folder. */
const isCheckpoint = (path: string) => existsSync(join(path, STATE_FILE))

/** The checkpoints of a run, newest first; what is named like one and has no state is no run's. */
export async function checkpointFolders(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return []
  const names = (await readdir(folder)).filter(
    (name) => /^step-\d{6,}$/.test(name) && isCheckpoint(join(folder, name)),
  )
  const step = (name: string) => Number(name.slice("step-".length))
  return names.sort((a, b) => step(b) - step(a)).map((name) => join(folder, name))
}

/** Removes the oldest checkpoints, and what a killed process left half written. */
async function prune(folder: string, limit: number): Promise<void> {
  for (const old of (await checkpointFolders(folder)).slice(limit)) {
    await rm(old, { recursive: true, force: true })
  }
  for (const name of await readdir(folder)) {
    if (name.startsWith(".step-")) await rm(join(folder, name), { recursive: true, force: true })
  }
}

/**
 * Reads a checkpoint after checking every file against what was written.
 *
 * @throws InputError naming the file that is missing or damaged, or what does not fit this run
 */
export async function readCheckpoint(path: string, fingerprint: Fingerprint): Promise<Checkpoint> {
  const state = await readState(path)
  await verifyFiles(path, state)
  for (const [name, value] of Object.entries(fingerprint)) {
    if (state.fingerprint[name] === value) continue
    throw new InputError(
      `${path}: was made with another ${name} (${state.fingerprint[name]}, now ${value}); ` +
        "a resumed run must continue the same run: restore it, or start anew in another output_dir",
    )
  }
  const reader = await openSafetensors(join(path, TENSOR_FILE))
  const tensors = new Map<string, HostTensor>()
  for (const [name, { shape }] of reader.tensors) {
    tensors.set(name, float32(shape, await reader.readFloat32(name)))
  }
  await reader.close()
  return { path, progress: state.progress, tensors }
}

async function readState(path: string): Promise<StateFile> {
  const file = join(path, STATE_FILE)
  if (!existsSync(file)) throw new InputError(`${path}: is no checkpoint: it has no ${STATE_FILE}`)
  const state = parseJson(await readFile(file, "utf8"), file) as StateFile
  if (state.version !== VERSION) {
    throw new InputError(`${file}: version ${state.version}, this dftune reads ${VERSION}`)
  }
  return state
}

async function verifyFiles(path: string, { files }: StateFile): Promise<void> {
  for (const [name, { bytes, sha256: expected }] of Object.entries(files)) {
    const file = join(path, name)
    if (!existsSync(file)) throw new InputError(`${file}: is missing from the checkpoint`)
    const size = (await stat(file)).size
    if (size !== bytes || (await fileHash(file)) !== expected) {
      throw new InputError(
        `${file}: is damaged (${size} bytes, ${bytes} were written); remove this checkpoint to resume from the one before`,
      )
    }
  }
}
