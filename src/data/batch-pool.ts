import { statSync } from "node:fs"
import { join } from "node:path"
import type { ResourceLimits, Worker } from "node:worker_threads"
import { assert, InputError } from "../errors.ts"
import { startWorker } from "../host/worker.ts"
import { type BatchResult, type BatchSetup, batchPreparer } from "./batch.ts"
import type { RawBatch } from "./read-batch.ts"

/**
 * Turns batches into results, in the order of the batches, whatever number of threads works on
 * them.
 */
export interface BatchPool {
  /** Batches that may be under way at once; more only take memory. */
  readonly width: number
  prepare(batch: RawBatch): Promise<BatchResult>
  close(): Promise<void>
}

/** Batches under way for each thread: one is worked on while the next one waits there. */
const AHEAD = 2

/** Without workers the calling thread does the work: quicker for little data. */
export async function batchPool(setup: BatchSetup, workers: number): Promise<BatchPool> {
  if (workers === 0) {
    const prepare = await batchPreparer(setup)
    return { width: 1, prepare: async (batch) => prepare(batch), close: async () => {} }
  }
  const threads = Array.from({ length: workers }, () => preparingThread(setup))
  return {
    width: workers * AHEAD,
    prepare: (batch) => {
      const idlest = threads.reduce((a, b) => (b.underWay() < a.underWay() ? b : a))
      return idlest.prepare(batch)
    },
    close: async () => {
      await Promise.all(threads.map(({ close }) => close()))
    },
  }
}

/**
 * What a thread may take: V8 left alone grows each heap far beyond what it needs. The tokenizer's
 * tables are some twenty times its file.
 */
function resourceLimits({ tokenizer }: BatchSetup): ResourceLimits {
  const file = statSync(join(tokenizer, "tokenizer.json"), { throwIfNoEntry: false })
  const megabytes = (file?.size ?? 0) / 2 ** 20
  return {
    maxYoungGenerationSizeMb: 8,
    maxOldGenerationSizeMb: 512 + Math.ceil(32 * megabytes),
  }
}

type Answer =
  | { readonly result: BatchResult }
  | {
      readonly failed: {
        readonly input: boolean
        readonly message: string
        readonly stack?: string
      }
    }

const tooLarge = (path: string) =>
  new InputError(
    `${path}: a row there is too large to tokenise in the memory of one thread; shorten it`,
  )

interface Waiting {
  readonly resolve: (result: BatchResult) => void
  readonly reject: (error: Error) => void
}

function preparingThread(setup: BatchSetup) {
  const worker: Worker = startWorker(new URL("./prepare-worker.ts", import.meta.url), {
    workerData: setup,
    resourceLimits: resourceLimits(setup),
  })
  const waiting: Waiting[] = []
  let current = ""
  let failure: Error | undefined
  const fail = (error: Error): void => {
    failure ??= error
    for (const { reject } of waiting.splice(0)) reject(error)
  }
  worker.on("message", (answer: Answer) => {
    if ("result" in answer) {
      const first = waiting.shift()
      assert(first !== undefined, "a worker answered twice")
      first.resolve(answer.result)
      return
    }
    const { input, message, stack } = answer.failed
    const error = input ? new InputError(message) : new Error(message)
    if (!input && stack !== undefined) error.stack = stack
    fail(error)
  })
  worker.on("error", (error: NodeJS.ErrnoException) => {
    fail(error.code === "ERR_WORKER_OUT_OF_MEMORY" ? tooLarge(current) : error)
  })
  worker.on("exit", (code) => fail(new Error(`a preparing thread ended with code ${code}`)))
  return {
    underWay: () => waiting.length,
    prepare: (batch: RawBatch) =>
      new Promise<BatchResult>((resolve, reject) => {
        if (failure !== undefined) {
          reject(failure)
          return
        }
        waiting.push({ resolve, reject })
        current = batch.path
        worker.postMessage(batch)
      }),
    close: async () => {
      await worker.terminate()
    },
  }
}
