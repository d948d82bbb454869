/** The one door to every engine: the library, the verbs, the demo and the benches come in here. */
import type { Config, EngineName } from "../config/index.ts"
import { begun } from "../host/begun.ts"
import type { RunEvent } from "../run/events.ts"
import { openTrackers } from "../trackers/index.ts"
import { finishedRun } from "../train/finished-run.ts"
import type { Engine, EnginePlan, Run, RunOptions } from "./engine.ts"

export type { Engine, EnginePlan, Run, RunOptions } from "./engine.ts"

/** Loaded when asked for: the one does not need what the other stands on. */
const ENGINES: { readonly [Name in EngineName]: () => Promise<Engine> } = {
  onnx: async () => (await import("./local/local-engine.ts")).localEngine,
  torch: async () => (await import("./torch/torch-engine.ts")).torchEngine,
}

/**
 * Trains with the engine that the config names, beside the caller's event loop.
 *
 *     const run = train(await loadConfig("dftune.yaml"))
 *     for await (const event of run) console.log(event.type)
 *     const { model } = await run.result
 *
 * The events need not be read: the run goes on all the same, and `result` settles.
 */
export function train(config: Config, options: RunOptions = {}): Run {
  return begun(async function* () {
    const done = await finishedRun(config)
    if (done) return done
    const engine = await ENGINES[config.engine.name]()
    const run = engine.start(config, options)
    yield* tracked(run, config, options)
    return run.result
  })
}

/** The run's events, told to its trackers on their way. The last one waits until they are done. */
async function* tracked(
  run: Run,
  config: Config,
  { trackers: own }: RunOptions,
): AsyncGenerator<RunEvent> {
  const { report_to, output_dir: outputDir } = config
  const trackers = await openTrackers(report_to, { outputDir, settings: { ...config } }, own)
  try {
    for await (const event of run) {
      const failures = trackers.see(event)
      const isLast = event.type === "run.end"
      if (isLast) failures.push(...(await trackers.close()))
      else yield event
      for (const failure of failures) yield trackerWarning(event, failure)
      if (isLast) yield event
    }
  } finally {
    await trackers.close()
  }
}

const trackerWarning = ({ time, step }: RunEvent, message: string): RunEvent => ({
  ...{ type: "warning", time, step, code: "tracker", message },
  hint: "the run goes on without this tracker; events.jsonl has every event",
})

/** What the engine that the config names would do; nothing is trained. */
export async function planOf(config: Config, options: RunOptions = {}): Promise<EnginePlan> {
  const engine = await ENGINES[config.engine.name]()
  return engine.plan(config, options)
}
