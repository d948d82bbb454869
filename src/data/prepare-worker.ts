/** A worker thread of ./prepare.ts: raw rows in, tokens and masks out. */
import { parentPort, workerData } from "node:worker_threads"
import { assert, InputError } from "../errors.ts"
import { type BatchSetup, batchPreparer, transferables } from "./batch.ts"
import type { RawBatch } from "./read-batch.ts"

assert(parentPort !== null, "prepare-worker.ts is started as a worker thread")
const port = parentPort
const prepare = await batchPreparer(workerData as BatchSetup).catch(report)

/** An InputError loses its class on the way to the main thread. */
function report(error: unknown): undefined {
  const { message, stack } = error as Error
  port.postMessage({ failed: { input: error instanceof InputError, message, stack } })
}

port.on("message", (batch: RawBatch) => {
  if (prepare === undefined) return
  try {
    const result = prepare(batch)
    port.postMessage({ result }, transferables(result))
  } catch (error) {
    report(error)
  }
})
