/**
 * A reward written by the user: a function in a module, in a thread of its own with a time limit.
 */
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

export type OwnRequest =
  | { readonly samples: readonly Omit<RewardSample, "where">[] }
  /** Nothing but to load the module, and look that the function is there. */
  | { readonly load: true }
export type OwnReply =
  | { readonly loaded: true }
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
  let thread: OwnThread | undefined
  const called = `${module}: the ${isEnvironment ? "environment's" : "reward"} function ${name}`
  const close = async () => {
    await thread?.worker.terminate()
    thread = undefined
  }
  const asked = async (
    request: OwnRequest,
    samples: readonly RewardSample[],
    signal: AbortSignal | undefined,
  ) => {
    signal?.throwIfAborted()
    thread ??= ownThread({ module, name, isEnvironment })
    thread.worker.ref()
    try {
      return await replied(thread, request, { timeout, signal })
    } catch (error) {
      await close()
      if (!(error instanceof Failure)) throw error
      const sample = error.sample === undefined ? undefined : samples[error.sample]
      const of = sample
        ? ` for ${sample.where}, completion ${JSON.stringify(sample.completion.slice(0, 80))}`
        : ""
      throw new InputError(`${called}: ${error.message}${of}`)
    } finally {
      thread?.worker.unref()
    }
  }
  let last: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work)
    last = next.catch(() => {})
    return next
  }
  return {
    close,
    ready: (signal) =>
      inTurn(async () => {
        await asked({ load: true }, [], signal)
      }),
    score(samples, signal) {
      const own = samples.map(({ where: _, ...sample }) => sample)
      return inTurn(() => asked({ samples: own }, samples, signal))
    },
  }
}

interface OwnThread {
  readonly worker: Worker
  /**
   * How it ended between two calls: a timer or a promise of the module's failed with nobody
   * waiting.
   */
  ended?: string
  /** Whether it has answered a call. */
  hasAnswered: boolean
}

/** What the module prints goes to stderr: stdout holds results alone. */
function ownThread(workerData: object): OwnThread {
  const worker = startWorker(new URL("./own-function-worker.ts", import.meta.url), {
    workerData,
    stdout: true,
  })
  worker.stdout.pipe(process.stderr, { end: false })
  const thread: OwnThread = { worker, hasAnswered: false }
  worker.on("error", (error: unknown) => {
    thread.ended ??= `failed after it had answered: ${error instanceof Error ? error.message : error}`
  })
  worker.on("exit", () => {
    thread.ended ??= "ended its thread after it had answered (process.exit?)"
  })
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
  thread: OwnThread,
  request: OwnRequest,
  { timeout, signal }: { readonly timeout: number; readonly signal: AbortSignal | undefined },
): Promise<readonly unknown[]> {
  const { worker } = thread
  return new Promise((resolve, reject) => {
    if (thread.ended !== undefined) return reject(new Failure(thread.ended, undefined))
    let timer: NodeJS.Timeout | undefined
    let current: number | undefined
    let hasBegun = !thread.hasAnswered
    /** What fails before this call began was left by an earlier one. */
    const blamed = (now: string) => new Failure(hasBegun ? now : (thread.ended ?? now), current)
    const wait = (seconds: number, what = "took") => {
      clearTimeout(timer)
      const late = () => end(() => reject(new Failure(`${what} longer than ${seconds} s`, current)))
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
    const onError = (error: Error) => end(() => reject(blamed(error.message)))
    const onExit = () => end(() => reject(blamed("ended its thread (process.exit?)")))
    const onAbort = () => end(() => reject(signal!.reason))
    const onMessage = (reply: OwnReply) => {
      if ("began" in reply) {
        hasBegun = true
        current = reply.began < 0 ? undefined : reply.began
        wait(timeout)
      } else if ("loaded" in reply) end(() => resolve([]))
      else if ("scores" in reply) {
        thread.hasAnswered = true
        end(() => resolve(reply.scores))
      } else end(() => reject(new Failure(reply.problem, reply.sample)))
    }
    worker.on("message", onMessage)
    worker.on("error", onError)
    worker.on("exit", onExit)
    signal?.addEventListener("abort", onAbort, { once: true })
    wait(LOADING_SECONDS, "its module took")
    worker.postMessage(request)
  })
}
