/**
 * The thread of ./local-engine.ts: the config in, events out; the message "stop" asks for a clean
 * end.
 */
import { parentPort, workerData } from "node:worker_threads"
import { assert, InputError } from "../../errors.ts"
import { fileSystemError } from "../../formats/atomic.ts"
import { runHere } from "../../train/run.ts"
import type { WorkerInput, WorkerMessage } from "./local-engine.ts"

assert(parentPort !== null, "train-worker.ts is started as a worker thread")
const port = parentPort
const controller = new AbortController()
port.on("message", () => controller.abort())
/** Nobody reads faster, and a token is told of each time. */
const TELL_MS = 100
let told = Number.NEGATIVE_INFINITY
const post = (message: WorkerMessage) => port.postMessage(message)

try {
  const { config, timed } = workerData as WorkerInput
  const events = runHere(config, {
    timed,
    signal: controller.signal,
    onProgress: (progress) => {
      if (performance.now() - told < TELL_MS) return
      told = performance.now()
      post({ progress })
    },
  })
  for (;;) {
    const next = await events.next()
    if (next.done) {
      post({ result: next.value })
      break
    }
    post({ event: next.value })
  }
} catch (error) {
  const said = fileSystemError(error) ?? (error as Error)
  const { name, message, stack } = said
  const input = said instanceof InputError
  post({ failed: { input, name, message, ...(stack ? { stack } : {}) } })
} finally {
  port.close()
}
