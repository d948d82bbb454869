import { parentPort, workerData } from "node:worker_threads"
import { assert } from "../../errors.ts"
import type { GradeReply, GradeRequest } from "./grader.ts"
import { compareTexts, gradeUnbounded } from "./verdict.ts"

assert(parentPort !== null, "grade-worker runs as a worker thread")
const port = parentPort
/** The id of the item in work, 0 between items; the other thread watches it. */
const current = new Int32Array(workerData as SharedArrayBuffer)

compareTexts("\\frac{1}{2}", "0.5") // loads the parser's tables before the first item's clock

port.on("message", (requests: readonly GradeRequest[]) => {
  for (const { id, completion, gold, mode } of requests) {
    Atomics.store(current, 0, id)
    const reply: GradeReply = { id, verdict: gradeUnbounded(completion, gold, mode) }
    Atomics.store(current, 0, 0)
    port.postMessage(reply)
  }
})
port.postMessage({ id: 0, verdict: null } satisfies GradeReply)
