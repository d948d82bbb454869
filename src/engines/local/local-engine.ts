/** The local engine: a worker thread, so that the caller's event loop never waits for a kernel. */
import type { Worker } from "node:worker_threads"
import type { Config } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { begun } from "../../host/begun.ts"
import { startWorker } from "../../host/worker.ts"
import { shortBytes, shortCount, shortDuration, shortSeconds } from "../../report/units.ts"
import type { RunEvent } from "../../run/events.ts"
import { checkRunPlace } from "../../run/run-place.ts"
import type { Estimate } from "../../train/estimate.ts"
import { fitsNow } from "../../train/local-plan.ts"
import { miniatureEstimate } from "../../train/miniature.ts"
import { closeRows, planRun, type RunPlan } from "../../train/plan.ts"
import type { RunResult } from "../../train/run.ts"
import type { Engine, EnginePlan, RunOptions } from "../engine.ts"
import { dataLines } from "../plan-lines.ts"

export interface WorkerInput {
  readonly config: Config
  readonly timed: boolean
}

export type WorkerMessage =
  | { readonly event: RunEvent }
  | { readonly progress: string }
  | { readonly result: RunResult }
  | {
      readonly failed: {
        readonly input: boolean
        /** AbortError: what was asked to stop did. */
        readonly name: string
        readonly message: string
        readonly stack?: string
      }
    }

export const localEngine: Engine = {
  start: (config, options) => begun(() => workerEvents(config, options)),
  async plan(config, options) {
    checkRunPlace(config)
    const plan = await planRun(config, options)
    try {
      const { signal, onProgress, timed } = options
      if (!timed || plan.rollout || !fitsNow(plan)) return described(plan)
      onProgress?.("timing a few layers")
      return described(plan, await miniatureEstimate(plan, signal ? { signal } : {}))
    } finally {
      closeRows(plan)
    }
  },
}

/**
 * Of the training thread, for short-lived objects: V8's own choice grows to 48 MB on a quick
 * machine and not on a busy one, and a plan of memory cannot know (docs/log.md, 2026-11-30).
 * Numbers are in arrays outside of it.
 */
const YOUNG_MB = 16

async function* workerEvents(
  config: Config,
  { signal, onProgress, timed = false }: RunOptions,
): AsyncGenerator<RunEvent, RunResult> {
  const worker = startWorker(new URL("./train-worker.ts", import.meta.url), {
    workerData: { config, timed } satisfies WorkerInput,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MB },
  })
  const unlisten = stopOnAbort(worker, signal)
  try {
    for await (const message of messages(worker)) {
      if ("event" in message) yield message.event
      else if ("progress" in message) onProgress?.(message.progress)
      else if ("failed" in message) throw asError(message.failed)
      else return message.result
    }
    throw new Error("the training thread ended without a result")
  } finally {
    unlisten()
  }
}

/** What the thread says, until it ends. Rejects with what it threw outside of its own care. */
async function* messages(worker: Worker): AsyncGenerator<WorkerMessage> {
  const waiting: WorkerMessage[] = []
  let wake: () => void = () => {}
  let ended = false
  let failure: unknown
  worker.on("message", (message: WorkerMessage) => {
    waiting.push(message)
    wake()
  })
  worker.on("error", (error) => {
    failure = error
    wake()
  })
  worker.on("exit", () => {
    ended = true
    wake()
  })
  for (;;) {
    while (waiting.length > 0) yield waiting.shift()!
    if (failure !== undefined) throw failure
    if (ended) return
    await new Promise<void>((resolve) => {
      wake = resolve
    })
  }
}

function stopOnAbort(worker: Worker, signal: AbortSignal | undefined): () => void {
  const stop = () => worker.postMessage("stop")
  if (signal?.aborted) stop()
  signal?.addEventListener("abort", stop, { once: true })
  return () => signal?.removeEventListener("abort", stop)
}

function asError({
  input,
  name,
  message,
  stack,
}: Extract<WorkerMessage, { failed: unknown }>["failed"]) {
  if (input) return new InputError(message)
  const error = new Error(message)
  error.name = name
  if (stack) error.stack = stack
  return error
}

function described(plan: RunPlan, time?: Estimate): EnginePlan {
  const { order, rows, lints, split, model } = plan
  const { keep: _, ...memory } = plan.memory
  const parts = (
    ["weights", "gradients", "moments", "activations", "workspace", "process"] as const
  )
    .map((part) => `${part} ${shortBytes(memory[part])}`)
    .join(", ")
  return {
    steps: order.steps,
    lines: [
      ...dataLines(plan),
      ["memory", `about ${shortBytes(memory.total)}: ${parts}`],
      ...(time
        ? [
            [
              "time",
              `about ${shortDuration(time.seconds)}: ${shortSeconds(time.seconds_per_step)} a step, ${shortCount(time.tokens_per_second)} tokens/s`,
            ] as const,
          ]
        : []),
      ["micro-batch", `${shortCount(split.capacity)} tokens`],
      ["activations", `kept in ${memory.keptLayers} of ${model.shape.numHiddenLayers} layers`],
    ],
    json: {
      ...{ engine: "onnx", steps: order.steps, manifest: rows.manifest, memory },
      ...(time ? { seconds: time.seconds, seconds_per_step: time.seconds_per_step } : {}),
    },
    warnings: lints,
  }
}
