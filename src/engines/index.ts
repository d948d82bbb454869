/** The one door to every engine: the library, the verbs, the demo and the benches come in here. */
import type { Config, EngineName } from "../config/index.ts"
import type { RunEvent } from "../run/events.ts"
import { trackersOf } from "../trackers/index.ts"
import { type Engine, type EnginePlan, type Run, type RunOptions, startedRun } from "./engine.ts"

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
  return startedRun(async function* () {
    const engine = await ENGINES[config.engine.name]()
    const run = engine.start(config, options)
    yield* tracked(run, config)
    return run.result
  })
}

/** The run's events, told to its trackers on their way. */
async function* tracked(run: Run, { report_to, output_dir }: Config): AsyncGenerator<RunEvent> {
  const trackers = trackersOf(report_to, output_dir)
  try {
    for await (const event of run) {
      const failures = trackers.see(event)
      yield event
      for (const failure of failures) yield trackerWarning(event, failure)
    }
  } finally {
    trackers.close()
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
