import type { Worker } from "node:worker_threads"
import type { Config } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { startWorker } from "../../host/worker.ts"
import type { RunEvent } from "../../run/events.ts"
import type { RunResult } from "../../train/run.ts"

/** A run that is going on: its events as they happen, and how it ended. */
export interface Run extends AsyncIterable<RunEvent> {
  /** Rejects with InputError for what the user can mend. */
  readonly result: Promise<RunResult>
}

export interface TrainOptions {
  /** Aborting makes a checkpoint and ends the run with `interrupted`. */
  readonly signal?: AbortSignal
  /** What is being done before the first event, for people. */
  readonly onProgress?: (message: string) => void
}

export type WorkerMessage =
  | { readonly event: RunEvent }
  | { readonly progress: string }
  | { readonly result: RunResult }
  | {
      readonly failed: {
        readonly input: boolean
        readonly message: string
        readonly stack?: string
      }
    }

/**
 * Trains in a worker thread, so that the caller's event loop never waits for a kernel.
 *
 *     const run = train(await loadConfig("dftune.yaml"))
 *     for await (const event of run) console.log(event.type)
 *     const { model } = await run.result
 *
 * The events need not be read: the run goes on all the same, and `result` settles.
 */
export function train(config: Config, { signal, onProgress }: TrainOptions = {}): Run {
  const worker = startWorker(new URL("./train-worker.ts", import.meta.url), { workerData: config })
  const events = new EventQueue()
  const result = new Promise<RunResult>((resolve, reject) => {
    const fail = (error: unknown) => {
      reject(error)
      events.end()
    }
    worker.on("message", (message: WorkerMessage) => {
      if ("event" in message) events.push(message.event)
      else if ("progress" in message) onProgress?.(message.progress)
      else if ("failed" in message) fail(asError(message.failed))
      else resolve(message.result)
    })
    worker.on("error", fail)
    worker.on("exit", () => {
      fail(new Error("the training thread ended without a result"))
    })
  })
  const unlisten = stopOnAbort(worker, signal)
  const settled = result.finally(unlisten)
  // Whoever reads only the events must not be ended by an unhandled rejection: they see it here.
  settled.catch(() => {})
  return {
    result: settled,
    async *[Symbol.asyncIterator]() {
      yield* events
      await settled
    },
  }
}

function stopOnAbort(worker: Worker, signal: AbortSignal | undefined): () => void {
  const stop = () => worker.postMessage("stop")
  if (signal?.aborted) stop()
  signal?.addEventListener("abort", stop, { once: true })
  return () => signal?.removeEventListener("abort", stop)
}

function asError({ input, message, stack }: Extract<WorkerMessage, { failed: unknown }>["failed"]) {
  if (input) return new InputError(message)
  const error = new Error(message)
  if (stack) error.stack = stack
  return error
}

/** Events waiting to be read. */
class EventQueue implements AsyncIterable<RunEvent> {
  readonly #waiting: RunEvent[] = []
  #ended = false
  #wake: () => void = () => {}

  push(event: RunEvent): void {
    this.#waiting.push(event)
    if (event.type === "run.end") this.#ended = true
    this.#wake()
  }
  end(): void {
    this.#ended = true
    this.#wake()
  }
  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
    for (;;) {
      while (this.#waiting.length > 0) yield this.#waiting.shift()!
      if (this.#ended) return
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
