/**
 * One run after the other, and beside them one export after the other: each a process of its own
 * that goes on when this server ends.
 */
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { closeSync, existsSync, openSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { ownCommand } from "../host/own-command.ts"
import { RUN_FILES } from "../run/run-files.ts"
import { lockHolder } from "../run/run-lock.ts"
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

export class JobQueue {
  readonly #dir: string
  /** Of the processes. */
  readonly #env: NodeJS.ProcessEnv
  #jobs: Job[]
  readonly #look: NodeJS.Timeout
  /** Jobs whose processes this server started and saw ending. */
  readonly #ended = new Set<string>()

  /** `dir`: the folder of runs. `starts`: whether this server starts what waits. */
  constructor(dir: string, { env, starts }: { env: NodeJS.ProcessEnv; starts: boolean }) {
    this.#dir = dir
    this.#env = env
    this.#jobs = readQueue(dir)
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
      if (running && this.#isAlive(running)) continue
      if (running) {
        this.#replace(
          this.#isWell(running)
            ? { ...running, state: "done" }
            : { ...running, state: "failed", message: this.#lastWords(running) },
        )
      }
      const next = jobs.find(({ state }) => state === "waiting")
      if (next) this.#start(next)
    }
  }

  /** Whether a job that is over has done what it was for. */
  #isWell({ id, run, export: asked }: Job): boolean {
    if (asked) return exportResult(this.#dir, id) !== undefined
    const ended = lastEnd(join(this.#dir, run))
    return ended === "done" || ended === "interrupted"
  }

  #isAlive({ id, run, pid, export: asked }: Job): boolean {
    if (this.#ended.has(id) || (asked && exportResult(this.#dir, id))) return false
    if (lockHolder(join(this.#dir, run))?.pid === pid) return true
    try {
      process.kill(pid!, 0)
      return true
    } catch (error) {
      return (error as NodeJS.ErrnoException).code === "EPERM"
    }
  }

  #start(job: Job): void {
    const [program, args] = ownCommand(...this.#words(job))
    const log = openSync(queuePath(this.#dir, `${job.id}.log`), "a")
    const out = job.export ? openSync(resultPath(this.#dir, job.id), "w") : log
    const child = spawn(program, args, {
      detached: true,
      stdio: ["ignore", out, log],
      env: this.#env,
    })
    for (const file of new Set([log, out])) closeSync(file)
    child.on("error", () => this.#ended.add(job.id))
    child.on("exit", () => this.#ended.add(job.id))
    child.unref()
    if (child.pid === undefined) this.#ended.add(job.id)
    this.#replace({ ...job, state: "running", pid: child.pid ?? process.pid })
  }

  #words({ id, run, resume, export: asked }: Job): string[] {
    const folder = join(this.#dir, run)
    if (asked) {
      const { to, type, dtype, rounding, force } = asked
      const given = Object.entries({ to, type, dtype, rounding }).flatMap(([name, value]) =>
        value === undefined ? [] : [`--${name}`, value],
      )
      const out = join(folder, "export", exportName(asked))
      return ["export", folder, ...given, "--out", out, "--json", ...(force ? ["--force"] : [])]
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

const isOver = ({ state }: Job) => state === "done" || state === "failed"

/** Longer than any last line of events that says how a run ended. */
const END_BYTES = 2 ** 16

/** How a run ended, by its last event. */
function lastEnd(run: string): string | undefined {
  const path = join(run, RUN_FILES.events)
  if (!existsSync(path)) return undefined
  const from = Math.max(0, sizeOf(path) - END_BYTES)
  const event = linesFrom(path, from, END_BYTES).lines.at(-1)?.event
  return event?.type === "run.end" ? event.reason : undefined
}
