/** The thread of ./own-function.ts: samples in, what the user's function says out. */
import { parentPort, workerData } from "node:worker_threads"
import { assert } from "../errors.ts"
import { describeValue } from "../formats/json.ts"
import { importOwnModule } from "../host/own-module.ts"
import type { OwnReply, OwnRequest } from "./own-function.ts"
import type { Unfit } from "./reward.ts"

assert(parentPort !== null, "own-function-worker.ts is started as a worker thread")
const port = parentPort
const { module, name, isEnvironment } = workerData as {
  readonly module: string
  readonly name: string
  readonly isEnvironment: boolean
}
const post = (reply: OwnReply) => port.postMessage(reply)
const loaded = importOwnModule(module)
loaded.catch(() => {}) // told to whoever asks first

port.on("message", async (request: OwnRequest) => {
  let sample: number | undefined
  try {
    const functions = await loaded
    const { batch } = functions
    const isBatch = typeof batch === "function" && name === "default" && !isEnvironment
    const score = functions[name]
    if (!isBatch && typeof score !== "function") {
      const there = Object.keys(functions).join(", ") || "nothing"
      const what = name in functions ? `, which is ${describeValue(score)}` : ""
      const problem = `expected an exported function, the module exports ${there}${what}`
      return post({ problem, sample })
    }
    if ("load" in request) return post({ loaded: true })
    const { samples } = request
    if (isBatch) {
      post({ began: -1 })
      const scores: unknown = await batch(samples)
      if (!Array.isArray(scores) || scores.length !== samples.length) {
        const came = Array.isArray(scores) ? `a list of ${scores.length}` : describeValue(scores)
        return post({
          problem: `batch: expected a list of ${samples.length} numbers or nulls, got ${came}`,
          sample,
        })
      }
      return post({ scores: scores.map(plain) })
    }
    const scores: unknown[] = []
    for (sample = 0; sample < samples.length; sample++) {
      post({ began: sample })
      scores.push(plain(await (score as (of: unknown) => unknown)(samples[sample])))
    }
    post({ scores })
  } catch (error) {
    post({ problem: error instanceof Error ? error.message : String(error), sample })
  }
})

/** What can be sent and shown: a function's own values may hold anything. */
function plain(score: unknown): unknown {
  if (isEnvironment) return score === undefined ? null : JSON.parse(JSON.stringify(score))
  if (score === null || typeof score === "number") return score
  const isWord = ["bigint", "symbol", "function"].includes(typeof score)
  return { unfit: isWord ? `a ${typeof score}` : describeValue(score) } satisfies Unfit
}
