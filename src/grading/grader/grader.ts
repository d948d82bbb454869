import type { Worker } from "node:worker_threads"
import { startWorker } from "../../host/worker.ts"
import { type Gold, goldString, type Mode, type Verdict, verdict } from "./verdict.ts"

export interface GradeItem {
  readonly completion: string
  readonly gold: Gold
}

export interface GradeRequest extends GradeItem {
  /** From 1. */
  readonly id: number
  readonly mode: Mode
}

export interface GradeReply {
  /** 0 says that the worker is ready. */
  readonly id: number
  readonly verdict: Verdict | null
}

const BATCH = 64
/**
 * Only against a fault of ours: the parser counts its steps, so that verdicts do not depend on the
 * machine or its load, and no text that we know of takes a second.
 */
const LIMIT_MS = 30_000
const CHECK_MS = 50

/**
 * Grades in a worker thread, so that no text can hang the caller: an item that takes longer than
 * the limit is given up as undecided, its thread is ended, and the rest go on in a fresh one.
 */
export class Grader {
  readonly mode: Mode
  readonly #limitMs: number
  #worker: Worker | undefined
  #current: Int32Array | undefined
  #nextId = 1
  readonly #waiting = new Map<number, { request: GradeRequest; done: (v: Verdict) => void }>()
  #timer: NodeJS.Timeout | undefined
  #seen = { id: 0, since: 0 }

  constructor({ mode = "lenient", limitMs = LIMIT_MS }: { mode?: Mode; limitMs?: number } = {}) {
    this.mode = mode
    this.#limitMs = limitMs
  }

  /**
   * Verdicts in the order of the items. `signal` ends the wait at once: what is in work is given
   * up, and what others asked is asked again.
   */
  async grade(items: readonly GradeItem[], signal?: AbortSignal | undefined): Promise<Verdict[]> {
    signal?.throwIfAborted()
    const first = this.#nextId
    const verdicts = Promise.all(this.#asked(items))
    if (signal === undefined) return verdicts
    const last = this.#nextId
    let stop = () => {}
    const stopped = new Promise<never>((_, reject) => {
      stop = () => {
        for (let id = first; id < last; id++) this.#waiting.delete(id)
        this.#restart()
        reject(signal.reason)
      }
      signal.addEventListener("abort", stop, { once: true })
    })
    try {
      return await Promise.race([verdicts, stopped])
    } finally {
      signal.removeEventListener("abort", stop)
    }
  }

  #asked(items: readonly GradeItem[]): Promise<Verdict>[] {
    const verdicts: Promise<Verdict>[] = []
    for (let start = 0; start < items.length; start += BATCH) {
      const requests = items.slice(start, start + BATCH).map((item): GradeRequest => {
        const request = { ...item, id: this.#nextId++, mode: this.mode }
        verdicts.push(
          new Promise((done) => {
            this.#waiting.set(request.id, { request, done })
          }),
        )
        return request
      })
      this.#ready().postMessage(requests)
    }
    return verdicts
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer)
    await this.#worker?.terminate()
    this.#worker = undefined
  }

  #ready(): Worker {
    if (this.#worker) {
      this.#worker.ref()
      this.#timer ??= setInterval(() => this.#watch(), CHECK_MS)
      return this.#worker
    }
    const shared = new SharedArrayBuffer(4)
    this.#current = new Int32Array(shared)
    this.#seen = { id: 0, since: 0 }
    const worker = startWorker(new URL("./grade-worker.ts", import.meta.url), {
      workerData: shared,
    })
    this.#worker = worker
    worker.on("message", ({ id, verdict: given }: GradeReply) => {
      const waiting = this.#waiting.get(id)
      if (given === null || waiting === undefined) return
      this.#waiting.delete(id)
      waiting.done(given)
      this.#rest()
    })
    worker.on("error", (error: Error) => {
      if (this.#worker === worker) this.#replace(`the grader failed on it: ${error.message}`)
    })
    this.#timer ??= setInterval(() => this.#watch(), CHECK_MS)
    return worker
  }

  /** With nothing to do the thread keeps no process alive. */
  #rest(): void {
    if (this.#waiting.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#worker?.unref()
  }

  /** Called every CHECK_MS while there is work: has the same item been in work for too long? */
  #watch(): void {
    const id = Atomics.load(this.#current!, 0)
    if (id === 0 || id !== this.#seen.id) {
      this.#seen = { id, since: performance.now() }
    } else if (performance.now() - this.#seen.since > this.#limitMs) {
      this.#replace(`took longer than ${this.#limitMs} ms to compare`)
    }
  }

  /** Ends the thread; its current item is undecided, the others are asked again. */
  #replace(reason: string): void {
    const culprit = this.#waiting.get(Atomics.load(this.#current!, 0))
    if (culprit) {
      const { request, done } = culprit
      this.#waiting.delete(request.id)
      const gold = goldString(request.gold) ?? null
      done(verdict(this.mode, "nothing", null, gold, { equal: undefined, reason }))
    }
    this.#restart()
  }

  /** Ends the thread and asks a fresh one for what is still wanted. */
  #restart(): void {
    const worker = this.#worker
    this.#worker = undefined
    void worker?.terminate()
    const rest = [...this.#waiting.values()].map(({ request }) => request)
    if (rest.length > 0) this.#ready().postMessage(rest)
    else this.#rest()
  }
}

/** Grades items in a thread of their own and ends it. */
export async function gradeAll(
  items: readonly GradeItem[],
  mode: Mode = "lenient",
): Promise<Verdict[]> {
  await using grader = new Grader({ mode })
  return await grader.grade(items)
}
