import { createHash, randomUUID } from "node:crypto"
import { existsSync } from "node:fs"
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises"
import { basename, join } from "node:path"
import { InputError } from "../errors.ts"
import {
  fileHash,
  flushFolder,
  isObject,
  openSafetensors,
  type TensorToWrite,
  writeFileAtomic,
  writeSafetensors,
} from "../formats/index.ts"
import { refuseDeep } from "../formats/json.ts"
import { plainText } from "../formats/plain-file.ts"
import { checkpointName, stepOfCheckpoint } from "../run/run-files.ts"
import { float32, type HostTensor } from "../runtime/index.ts"
import type { Fingerprint } from "./identity-0.1.0.ts"
import { type Identity, isIdentity } from "./run-identity.ts"
import type { Progress } from "./trainer.ts"

const VERSION = 2
const STATE_FILE = "trainer.json"
const TENSOR_FILE = "trainer.safetensors"

/** The checkpoints of 0.1.0, which held a run to hashes of groups of settings. */
const FIRST_VERSION = 1

interface StateFile {
  readonly version: typeof VERSION
  readonly progress: Progress
  readonly identity: Identity
  readonly files: CheckpointFiles
  /** Of the rest of this file. */
  readonly sha256: string
}

/** Every other file of the folder. */
type CheckpointFiles = Readonly<Record<string, { readonly bytes: number; readonly sha256: string }>>

/** A checkpoint's state, read before its tensors. */
export interface CheckpointState {
  readonly path: string
  readonly progress: Progress
  readonly files: CheckpointFiles
  /** What the run must have in common with the one that goes on. */
  readonly run: { readonly identity: Identity } | { readonly fingerprint: Fingerprint }
}

export interface CheckpointContent {
  readonly progress: Progress
  readonly identity: Identity
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

async function describeFiles(folder: string): Promise<CheckpointFiles> {
  const files: Record<string, { bytes: number; sha256: string }> = {}
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name)
    files[name] = { bytes: (await stat(path)).size, sha256: await fileHash(path) }
  }
  return files
}

/**
 * Writes a checkpoint whole or not at all: into a folder beside its name, flushed, then renamed.
 * Only after that are checkpoints past `limit` removed, the oldest first, but for that of step
 * `keep`. Returns its path.
 *
 * @throws InputError when the disk is full; earlier checkpoints are untouched
 */
export async function writeCheckpointFolder(
  folder: string,
  content: CheckpointContent,
  { limit, keep }: { readonly limit: number | null; readonly keep?: number | undefined },
): Promise<string> {
  const path = join(folder, checkpointName(content.progress.step))
  const temporary = join(folder, `.${checkpointName(content.progress.step)}-${randomUUID()}`)
  try {
    await mkdir(temporary, { recursive: true })
    await content.writeModel(temporary)
    await writeSafetensors(join(temporary, TENSOR_FILE), content.tensors)
    const { progress, identity } = content
    const files = await describeFiles(temporary)
    const state = { version: VERSION, progress, identity, files } as const
    const whole: StateFile = { ...state, sha256: hashOf(state) }
    await writeFileAtomic(join(temporary, STATE_FILE), `${JSON.stringify(whole, null, 2)}\n`)
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
  if (limit !== null) await prune(folder, limit, keep)
  return path
}

/** Said by the file system, or by whoever wrote a file for us. */
function isDiskFull(error: unknown): boolean {
  const { code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException }
  return (code ?? cause?.code) === "ENOSPC"
}

/** Whether a run wrote this folder. */
export const isCheckpoint = (path: string) => existsSync(join(path, STATE_FILE))

/** The checkpoints of a run, newest first. Folders without a state file are skipped. */
export async function checkpointFolders(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return []
  const names = (await readdir(folder)).filter(
    (name) => /^step-\d{6,}$/.test(name) && isCheckpoint(join(folder, name)),
  )
  return names
    .sort((a, b) => stepOfCheckpoint(b) - stepOfCheckpoint(a))
    .map((name) => join(folder, name))
}

/** Removes the oldest checkpoints, and what a killed process left half written. */
async function prune(folder: string, limit: number, keep: number | undefined): Promise<void> {
  const kept = keep === undefined ? undefined : join(folder, checkpointName(keep))
  for (const old of (await checkpointFolders(folder)).slice(limit)) {
    if (old === kept) continue
    await rm(old, { recursive: true, force: true })
  }
  for (const name of await readdir(folder)) {
    if (name.startsWith(".step-")) await rm(join(folder, name), { recursive: true, force: true })
  }
}

/**
 * Reads the tensors of a checkpoint after checking every file against what was written.
 *
 * @throws InputError naming the file that is missing or damaged
 */
export async function readCheckpoint(state: CheckpointState): Promise<Checkpoint> {
  const { path, progress } = state
  await verifyFiles(state)
  return { path, progress, tensors: await storedTensors(join(path, TENSOR_FILE)) }
}

/** All tensors of a file: bytes, and float32. */
export async function storedTensors(file: string): Promise<Map<string, HostTensor>> {
  const reader = await openSafetensors(file)
  const tensors = new Map<string, HostTensor>()
  for (const [name, { shape, dtype }] of reader.tensors) {
    if (dtype === "U8") tensors.set(name, { dtype: "u8", shape, data: await reader.read(name) })
    else tensors.set(name, float32(shape, await reader.readFloat32(name)))
  }
  await reader.close()
  return tensors
}

const hashOf = (value: unknown) => createHash("sha256").update(JSON.stringify(value)).digest("hex")

/**
 * Reads `trainer.json` of a checkpoint.
 *
 * @throws InputError when it is missing, damaged or another engine's
 */
export async function readState(path: string): Promise<CheckpointState> {
  const file = join(path, STATE_FILE)
  if (!existsSync(file)) throw new InputError(`${path}: is no checkpoint: it has no ${STATE_FILE}`)
  const state: unknown = parsedState(plainText(file), file)
  if (isObject(state) && state.engine === "torch") {
    throw new InputError(`${path}: is a checkpoint of engine: torch; go on with engine=torch`)
  }
  if (!isObject(state) || !isFiles(state.files) || !isProgress(state.progress)) {
    throw new InputError(`${file}: is damaged; ${REMOVE}`)
  }
  const { version, progress, identity, fingerprint, files, sha256 } =
    state as unknown as StateFile & {
      readonly fingerprint?: Fingerprint
    }
  if ((version as number) === FIRST_VERSION && isObject(fingerprint)) {
    return { path, progress, files, run: { fingerprint } }
  }
  if (version !== VERSION) {
    throw new InputError(
      `${file}: version ${String(version)}, this dftune reads up to ${VERSION}; was it written by a newer dftune?`,
    )
  }
  if (sha256 !== hashOf({ version, progress, identity, files })) {
    throw new InputError(`${file}: is damaged, or was changed by hand; ${REMOVE}`)
  }
  // a checksum that fits says nothing of what was written with it
  if (!isIdentity(identity)) throw new InputError(`${file}: is damaged; ${REMOVE}`)
  return { path, progress, files, run: { identity } }
}

/**
 * The step of a checkpoint of any engine.
 *
 * @throws InputError when its `trainer.json` is missing or damaged
 */
export function checkpointStep(path: string): number {
  const { step } = progressIn(path)
  if (isStep(step)) return step
  throw new InputError(`${join(path, STATE_FILE)}: is damaged: it names no step; ${REMOVE}`)
}

/**
 * The step of the best evaluation up to a checkpoint of any engine, where the run watched for it.
 */
export function bestStepOf(path: string): number | undefined {
  const { best } = progressIn(path)
  return isObject(best) && isStep(best.step) ? best.step : undefined
}

const isStep = (step: unknown): step is number => Number.isSafeInteger(step) && Number(step) > 0

function progressIn(path: string): Readonly<Record<string, unknown>> {
  const file = join(path, STATE_FILE)
  if (!existsSync(file)) throw new InputError(`${path}: is no checkpoint: it has no ${STATE_FILE}`)
  const state = parsedState(plainText(file), file)
  if (!isObject(state)) return {}
  return isObject(state.progress) ? state.progress : state
}

const REMOVE = "remove this checkpoint to resume from the one before"

function parsedState(text: string, file: string): unknown {
  refuseDeep(text, file)
  try {
    return JSON.parse(text)
  } catch {
    throw new InputError(`${file}: is damaged: it is not JSON; ${REMOVE}`)
  }
}

function isProgress(value: unknown): value is Progress {
  if (!isObject(value)) return false
  const counts = [value.step, value.tokens, value.supervisedTokens]
  return (
    counts.every((count) => Number.isSafeInteger(count) && Number(count) >= 0) &&
    Number(value.step) > 0
  )
}

const isFiles = (value: unknown): value is CheckpointFiles =>
  isObject(value) && Object.values(value).every(isObject)

async function verifyFiles({ path, files }: CheckpointState): Promise<void> {
  for (const [name, { bytes, sha256: expected }] of Object.entries(files)) {
    const file = join(path, name)
    if (basename(name) !== name) throw new InputError(`${path}: names a file "${name}"; ${REMOVE}`)
    if (!existsSync(file))
      throw new InputError(`${file}: is missing from the checkpoint; ${REMOVE}`)
    const size = (await stat(file)).size
    if (size !== bytes || (await fileHash(file)) !== expected) {
      throw new InputError(`${file}: is damaged (${size} bytes, ${bytes} were written); ${REMOVE}`)
    }
  }
}
