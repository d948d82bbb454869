/** Starts the worker, follows it, stops it, and says why it failed. */
import { spawn } from "node:child_process"
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { InputError } from "../../errors.ts"
import { makeFolder, replaceFileNow } from "../../formats/atomic.ts"
import { killGroup } from "../../host/process-group.ts"
import type { RunEnd, RunEvent } from "../../run/events.ts"
import { STOP_FILE } from "../../run/run-files.ts"
import { RUN_FILES } from "../../run/run-folder.ts"
import { followEvents } from "./follow.ts"
import type { LaunchCommand } from "./torchrun.ts"

export interface WorkerRunOptions {
  readonly launch: LaunchCommand
  readonly specPath: string
  readonly outputDir: string
  /** Aborting makes a checkpoint and ends the run with `interrupted`. */
  readonly signal?: AbortSignal
  /** Aborting ends the worker at once. */
  readonly giveUp?: AbortSignal
  /** Told when the worker is gone. */
  readonly onExit?: () => void
  /** Lines that the worker writes for people. */
  readonly onLine?: (line: string) => void
}

const STDERR_KEPT = 16_000
/** A worker that is only just starting clears the file: it is made again this often. */
export const STOP_EVERY_MS = 200

/**
 * The worker's events as they are written, ending with `run.end`. Throws InputError for what the
 * user can mend, and an Error with the failing rank's own message for the rest.
 */
export async function* workerRun(options: WorkerRunOptions): AsyncGenerator<RunEvent, RunEnd> {
  const { launch, specPath, outputDir, signal, onLine } = options
  const path = join(outputDir, RUN_FILES.events)
  const from = existsSync(path) ? statSync(path).size : 0
  const child = spawn(launch.command, launch.args, {
    env: launch.env,
    stdio: ["ignore", "ignore", "pipe"],
    detached: true, // Ctrl-C in a terminal reaches us alone; the worker is told by a file
  })
  let errors = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-STDERR_KEPT)
    for (const line of text.split("\n")) if (line.startsWith("dftune_worker: ")) onLine?.(line)
  })
  let exit: Exit | undefined
  child.on("error", (error) => {
    exit = { code: null, signal: null, error }
  })
  child.on("close", (code, signal) => {
    exit ??= { code, signal }
    options.onExit?.()
  })
  const stopping = setInterval(() => {
    if (signal?.aborted && exit === undefined) replaceFileNow(join(outputDir, STOP_FILE), "")
  }, STOP_EVERY_MS)
  let end: RunEnd | undefined
  try {
    const ended = () => exit !== undefined || (options.giveUp?.aborted ?? false)
    for await (const event of followEvents(path, { from, ended })) {
      if (event.type === "run.end") end = event
      yield event
    }
  } finally {
    clearInterval(stopping)
    if (exit === undefined) killGroup(child)
  }
  if (end !== undefined && end.reason !== "failed") return end
  throw failure(dirname(specPath), exit, errors, launch)
}

interface RankError {
  readonly rank: number
  /**
   * `peer`: it failed for want of another, which may have had no time to say why; `refused`: node 0
   * refused the run before it started a process.
   */
  readonly kind: "input" | "stopped" | "memory" | "bug" | "peer" | "refused"
  readonly message: string
  readonly time: number
}

interface Exit {
  readonly code: number | null
  readonly signal: string | null
  readonly error?: Error
}

/** The kernel ends what asks for memory that is not there, and says so in its own log only. */
const KILLED =
  "somebody ended it, or memory ran out: micro_batch_tokens lowers what is needed, then recompute: always"

function failure(
  folder: string,
  exit: Exit | undefined,
  errors: string,
  { command, args }: LaunchCommand,
): Error {
  if (exit?.error !== undefined) return new InputError(`${command}: ${exit.error.message}`)
  const own = rankFailure(folder, args.includes("dftune_worker.agent"))
  if (own !== undefined) return own
  const taken = errors.split("\n").find((line) => /EADDRINUSE|ddress already in use/.test(line))
  if (taken !== undefined) {
    return new InputError(
      `a port is taken: ${taken.trim()}; give torchrun another --rdzv-endpoint or --master-port, or on one node none`,
    )
  }
  const [, rank, code] = /rank\s*:\s*(\d+)[\s\S]*?exitcode\s*:\s*(-?\d+)/.exec(errors) ?? []
  const [peer] = rankErrors(folder)
  let what = `the worker ended with ${exit?.signal ?? `code ${exit?.code}`}`
  if (exit?.signal === "SIGKILL") what += ` (${KILLED})`
  if (Number(code) === -9) what = `rank ${rank} ended with SIGKILL (${KILLED})`
  else if (Number(code) < 0) what = `rank ${rank} ended with signal ${-Number(code)}`
  else if (peer) what = `a process of this run is gone (rank ${peer.rank}: ${peer.message})`
  else if (rank !== undefined) what = `rank ${rank} ended with code ${code}`
  return plainError(
    `${what}; what was saved before is kept, --resume goes on from it\n${errors.trim().slice(-2000)}`,
  )
}

const MENDABLE: ReadonlySet<RankError["kind"]> = new Set(["input", "stopped", "refused"])

/** What the first rank to fail said, if one did; `several` ranks are told apart by number. */
export function rankFailure(folder: string, several: boolean): Error | undefined {
  const first = rankErrors(folder).find(({ kind }) => kind !== "peer")
  if (first === undefined) return undefined
  const message = several ? `rank ${first.rank}: ${first.message}` : first.message
  const mendable = MENDABLE.has(first.kind)
  return mendable ? new InputError(message) : plainError(message)
}

/** An error whose stack is ours and would say nothing. */
export function plainError(message: string): Error {
  const error = new Error(message)
  error.stack = message
  return error
}

/**
 * Leaves word of what node 0 refuses before it starts a process: other nodes wait for it to come.
 */
export function tellNodes(folder: string, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error)
  const record: RankError = { rank: 0, kind: "refused", message, time: Date.now() / 1000 }
  makeFolder(folder)
  replaceFileNow(join(folder, "rank-0.error.json"), `${JSON.stringify(record)}\n`)
}

/** Aborts when node 0 leaves word that is not there yet; what ranks say comes with their end. */
export function watchNodes(folder: string): { readonly signal: AbortSignal; end(): void } {
  const last = () => rankErrors(folder).findLast(({ kind }) => kind === "refused")?.time
  const told = last()
  const refused = new AbortController()
  const asking = setInterval(() => {
    const now = last()
    if (now !== undefined && now !== told) refused.abort()
  }, STOP_EVERY_MS)
  return { signal: refused.signal, end: () => clearInterval(asking) }
}

/** What ranks wrote before they ended, the first to fail first: the others fail for want of it. */
function rankErrors(folder: string): RankError[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^rank-\d+\.error\.json$/.test(name))
      .map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as RankError)
      .sort((a, b) => a.time - b.time)
  } catch (error) {
    // nobody to join yet, or node 0 is just removing what an earlier start left
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return []
    throw error
  }
}
