/** A reward written by the user: a function in a module, in a thread of its own with a time limit. */
import type { Worker } from "node:worker_threads"
import { InputError } from "../errors.ts"
import { startWorker } from "../host/worker.ts"
import type { RewardSample, Scorer } from "./reward.ts"

export interface OwnFunction {
  /** The module's file. */
  readonly module: string
  /** The name it exports the function by. */
  readonly export: string
  /** Seconds that a call may take. */
  readonly timeout: number
  /** What it is called in messages; its values then are any that JSON can say, not scores. */
  readonly isEnvironment?: boolean
}

export type OwnRequest = { readonly samples: readonly Omit<RewardSample, "where">[] }
export type OwnReply =
  /** A call begins: of this sample, or of all where the module has `batch`. */
  | { readonly began: number }
  | { readonly scores: readonly unknown[] }
  | { readonly problem: string; readonly sample: number | undefined }

/** Loading a module and what it imports may take longer than a call. */
const LOADING_SECONDS = 60

/**
 * Scores with the function of a module. Calls are made one after the other; one that takes too long
 * ends the thread.
 */
export function ownFunction({
  module,
  export: name,
  timeout,
  isEnvironment = false,
}: OwnFunction): Scorer {
  let worker: Worker | undefined
  const called = `${module}: the ${isEnvironment ? "environment's" : "reward"} function ${name}`
  const close = async () => {
    await worker?.terminate()
    worker = undefined
  }
  const scored = async (samples: readonly RewardSample[], signal: AbortSignal | undefined) => {
    signal?.throwIfAborted()
    worker ??= ownThread({ module, name, isEnvironment })
    const asked = worker
    asked.ref()
    const own = samples.map(({ where: _, ...sample }) => sample)
    try {
      return await replied(asked, { samples: own }, { timeout, signal })
    } catch (error) {
      await close()
      if (!(error instanceof Failure)) throw error
      const sample = error.sample === undefined ? undefined : samples[error.sample]
      const of = sample
        ? ` for ${sample.where}, completion ${JSON.stringify(sample.completion.slice(0, 80))}`
        : ""
      throw new InputError(`${called}: ${error.message}${of}`)
    } finally {
      worker?.unref()
    }
  }
  let last: Promise<unknown> = Promise.resolve()
  return {
    close,
    score(samples, signal) {
      const next = last.then(() => scored(samples, signal))
      last = next.catch(() => {})
      return next
    },
  }
}

/** What the module prints goes to stderr: stdout holds results alone. */
function ownThread(workerData: object): Worker {
  const thread = startWorker(new URL("./own-function-worker.ts", import.meta.url), {
    workerData,
    stdout: true,
  })
  thread.stdout.pipe(process.stderr, { end: false })
  return thread
}

class Failure extends Error {
  readonly sample: number | undefined
  constructor(message: string, sample: number | undefined) {
    super(message)
    this.sample = sample
  }
}

function replied(
  worker: Worker,
  request: OwnRequest,
  { timeout, signal }: { readonly timeout: number; readonly signal: AbortSignal | undefined },
): Promise<readonly unknown[]> {
  return new Promise((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    let current: number | undefined
    const wait = (seconds: number) => {
      clearTimeout(timer)
      const late = () => end(() => reject(new Failure(`took longer than ${seconds} s`, current)))
      timer = setTimeout(late, 1000 * seconds)
    }
    const end = (settle: () => void) => {
      clearTimeout(timer)
      worker.off("message", onMessage)
      worker.off("error", onError)
      worker.off("exit", onExit)
      signal?.removeEventListener("abort", onAbort)
      settle()
    }
    const onError = (error: Error) => end(() => reject(new Failure(error.message, current)))
    const onExit = () => end(() => reject(new Failure("ended its thread (process.exit?)", current)))
    const onAbort = () => end(() => reject(signal!.reason))
    const onMessage = (reply: OwnReply) => {
      if ("began" in reply) {
        current = reply.began < 0 ? undefined : reply.began
        wait(timeout)
      } else if ("scores" in reply) end(() => resolve(reply.scores))
      else end(() => reject(new Failure(reply.problem, reply.sample)))
    }
    worker.on("message", onMessage)
    worker.on("error", onError)
    worker.on("exit", onExit)
    signal?.addEventListener("abort", onAbort, { once: true })
    wait(LOADING_SECONDS)
    worker.postMessage(request)
  })
}
