/**
 * One run after the other, and beside them one export after the other: each a process of its own
 * that goes on when this server ends.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { closeSync, existsSync, openSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { ownCommand } from "../host/own-command.ts"
import { killGroup } from "../host/process-group.ts"
import { endsWith, processWith, processWords } from "../host/process-words.ts"
import type { RunEnd } from "../run/events.ts"
import { RUN_FILES } from "../run/run-files.ts"
import { lockHolder } from "../run/run-lock.ts"
import { checkpointPath } from "../run/run-place.ts"
import { configOf } from "./described-run.ts"
import {
  type ExportAsked,
  exportName,
  exportResult,
  type Job,
  queuePath,
  readQueue,
  resultPath,
  writeJobConfig,
  writeQueue,
} from "./queue-file.ts"
import { linesFrom, sizeOf } from "./run-lines.ts"
import { type Allowed, checkStart } from "./start-checks.ts"

const LOOK_EVERY_MS = 500
/** Jobs that have ended and are still shown. */
const KEPT_JOBS = 20
const MESSAGE_CHARACTERS = 2000

interface Asked {
  readonly run: string
  readonly resume: boolean
  /** Of a run that begins. */
  readonly config?: unknown
  /** In place of training. */
  readonly export?: ExportAsked
}

interface JobQueueOptions {
  /** Of the processes. */
  readonly env: NodeJS.ProcessEnv
  /** How a verb is started; as this program was, if left out. */
  readonly command?: typeof ownCommand | undefined
  /** Whether this server starts what waits. */
  readonly starts: boolean
  /** Programs and servers that a run may name. */
  readonly allowed: Allowed
}

export class JobQueue {
  /** The folder of runs. */
  readonly #dir: string
  readonly #env: NodeJS.ProcessEnv
  readonly #command: typeof ownCommand
  readonly #allowed: Allowed
  #jobs: Job[]
  /**
   * Of jobs that an earlier server left waiting: it may have died between a start and its note of
   * it.
   */
  readonly #left: ReadonlySet<string>
  readonly #look: NodeJS.Timeout
  /** Of jobs that this server started. */
  readonly #children = new Map<string, ChildProcess>()
  /** Jobs whose processes this server started and saw ending. */
  readonly #ended = new Set<string>()
  /** Jobs that were told to end. */
  readonly #stopped = new Set<string>()

  constructor(dir: string, { env, command = ownCommand, starts, allowed }: JobQueueOptions) {
    this.#dir = dir
    this.#env = env
    this.#command = command
    this.#allowed = allowed
    this.#jobs = readQueue(dir)
    this.#left = new Set(this.#jobs.filter(({ state }) => state === "waiting").map(({ id }) => id))
    this.#look = setInterval(() => starts && this.#advance(), LOOK_EVERY_MS).unref()
  }

  get jobs(): readonly Job[] {
    return this.#jobs
  }

  /** Whether a run of this name waits or is being trained; one that has told its end is not. */
  has(run: string): boolean {
    return this.#jobs.some(
      (job) =>
        job.run === run &&
        !job.export &&
        (job.state === "waiting" ||
          (job.state === "running" && lastEnd(join(this.#dir, run)) === undefined)),
    )
  }

  /** Whether this export waits or is being written. */
  exports(run: string, asked: ExportAsked): boolean {
    return this.#jobs.some(
      (job) =>
        job.run === run &&
        job.export &&
        exportName(job.export) === exportName(asked) &&
        !isOver(job),
    )
  }

  add({ config, ...asked }: Asked): Job {
    const id = randomUUID()
    if (!asked.resume && !asked.export) writeJobConfig(this.#dir, id, config)
    const job: Job = { id, ...asked, state: "waiting", added: new Date().toISOString() }
    this.#change([...this.#jobs, job])
    this.#advance()
    return this.#jobs.find((one) => one.id === id)!
  }

  /** Takes a job that has not begun out of the queue; false where there is none. */
  cancel(id: string): boolean {
    const left = this.#jobs.filter((job) => job.id !== id || job.state === "running")
    if (left.length === this.#jobs.length) return false
    this.#change(left)
    return true
  }

  /**
   * Ends an export that is being written, as Ctrl-C would; false where there is none. Only a
   * process that is known to be it: the queue's file may be old, or another's.
   */
  stopExport(id: string): boolean {
    const job = this.#jobs.find((one) => one.id === id)
    if (!job?.export || job.state !== "running") return false
    const child = this.#children.get(id)
    if (child) killGroup(child, "SIGINT")
    else if (this.#isProcessOf(job)) process.kill(-job.pid!, "SIGINT")
    else return false
    this.#stopped.add(id)
    return true
  }

  /** Whether the process of a job's number was started with the job's words. */
  #isProcessOf(job: Job): boolean {
    return endsWith(job.pid!, this.#words(job))
  }

  close(): void {
    clearInterval(this.#look)
  }

  #change(jobs: Job[]): void {
    const over = jobs.filter(isOver).slice(-KEPT_JOBS)
    this.#jobs = jobs.filter((job) => !isOver(job) || over.includes(job))
    writeQueue(this.#dir, this.#jobs)
  }

  #replace(job: Job): void {
    this.#change(this.#jobs.map((one) => (one.id === job.id ? job : one)))
  }

  #advance(): void {
    for (const isOfKind of [(job: Job) => !job.export, (job: Job) => job.export !== undefined]) {
      const jobs = this.#jobs.filter(isOfKind)
      const running = jobs.find(({ state }) => state === "running")
      if (running && (this.#isAlive(running) || this.#isTakenUp(running))) continue
      if (running) this.#replace(this.#over(running))
      const next = jobs.find(({ state }) => state === "waiting")
      if (next) this.#begin(next)
    }
  }

  #over(job: Job): Job {
    if (this.#isWell(job)) return { ...job, state: "done" }
    if (this.#stopped.has(job.id)) return { ...job, state: "stopped" }
    return { ...job, state: "failed", message: this.#lastWords(job) }
  }

  /** Whether a job that is over has done what it was for. */
  #isWell({ id, run, export: asked }: Job): boolean {
    if (asked) return exportResult(this.#dir, id) !== undefined
    const ended = lastEnd(join(this.#dir, run))
    return ended === "done" || ended === "interrupted"
  }

  #isAlive(job: Job): boolean {
    const { id, run, pid, export: asked } = job
    if (this.#ended.has(id) || (asked && exportResult(this.#dir, id))) return false
    if (lockHolder(join(this.#dir, run))?.pid === pid) return true
    try {
      process.kill(pid!, 0)
      // the number of one that died with an earlier server may be another program's by now
      return this.#children.has(id) || processWords(pid!) === undefined || this.#isProcessOf(job)
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EPERM"
    }
  }

  /**
   * Whether another process does what the job is for: an earlier server's, or one of the user's.
   * The job is that process's from here on.
   */
  #isTakenUp(job: Job): boolean {
    const { id, run, export: asked } = job
    const writer = asked ? undefined : lockHolder(join(this.#dir, run))?.pid
    const pid = writer ?? (this.#left.has(id) ? processWith(this.#words(job)) : undefined)
    if (pid === undefined) return false
    this.#ended.delete(id)
    this.#replace({ ...job, state: "running", pid })
    return true
  }

  /** Whether a job that an earlier server left waiting has ended all the same. */
  #hasEnded({ id, run, added, export: asked }: Job): boolean {
    if (asked) return exportResult(this.#dir, id) !== undefined
    return (endOf(join(this.#dir, run))?.time ?? "") > added
  }

  /**
   * A run's config may be another by now than when it was asked for, and so may what is allowed.
   */
  #begin(job: Job): void {
    if (this.#isTakenUp(job)) return
    if (this.#left.has(job.id) && this.#hasEnded(job)) {
      this.#replace(this.#over(job))
      return
    }
    try {
      checkStart(this.#configOf(job), this.#allowed)
    } catch (error) {
      this.#replace({ ...job, state: "failed", message: (error as Error).message })
      return
    }
    this.#start(job)
  }

  #configOf({ id, run, resume, export: asked }: Job): unknown {
    if (resume || asked) return configOf(join(this.#dir, run))
    return JSON.parse(readFileSync(queuePath(this.#dir, `${id}.json`), "utf8"))
  }

  #start(job: Job): void {
    const [program, args] = this.#command(...this.#words(job))
    const log = openSync(queuePath(this.#dir, `${job.id}.log`), "a")
    const out = job.export ? openSync(resultPath(this.#dir, job.id), "w") : log
    const child = spawn(program, args, {
      detached: true,
      stdio: ["ignore", out, log],
      env: this.#env,
    })
    for (const file of new Set([log, out])) closeSync(file)
    const ended = () => {
      this.#ended.add(job.id)
      this.#children.delete(job.id)
    }
    this.#children.set(job.id, child.on("error", ended).on("exit", ended))
    child.unref()
    if (child.pid === undefined) this.#ended.add(job.id)
    this.#replace({ ...job, state: "running", pid: child.pid ?? process.pid })
  }

  #words({ id, run, resume, export: asked }: Job): string[] {
    const folder = join(this.#dir, run)
    if (asked) {
      const { to, type, dtype, rounding, checkpoint, force } = asked
      const given = Object.entries({ to, type, dtype, rounding }).flatMap(([name, value]) =>
        value === undefined ? [] : [`--${name}`, value],
      )
      const out = join(folder, "export", exportName(asked))
      const from = checkpoint === undefined ? folder : checkpointPath(folder, checkpoint)
      return ["export", from, ...given, "--out", out, "--json", ...(force ? ["--force"] : [])]
    }
    // what it names has been looked at when it was asked for
    if (resume) return ["train", folder, "--resume", "--allow-code"]
    return ["train", queuePath(this.#dir, `${id}.json`)]
  }

  #lastWords({ id }: Job): string {
    const path = queuePath(this.#dir, `${id}.log`)
    if (!existsSync(path)) return ""
    return readFileSync(path, "utf8").slice(-MESSAGE_CHARACTERS).trim()
  }
}

const isOver = ({ state }: Job) => state !== "waiting" && state !== "running"

/** Longer than any last line of events that says how a run ended. */
const END_BYTES = 2 ** 16

/** How a run ended. */
const lastEnd = (run: string): string | undefined => endOf(run)?.reason

/** The last event of a run that has ended. */
function endOf(run: string): RunEnd | undefined {
  const path = join(run, RUN_FILES.events)
  if (!existsSync(path)) return undefined
  const from = Math.max(0, sizeOf(path) - END_BYTES)
  const event = linesFrom(path, from, END_BYTES).lines.at(-1)?.event
  return event?.type === "run.end" ? event : undefined
}
