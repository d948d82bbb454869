/** The one door to every engine: the library, the verbs, the demo and the benches come in here. */
import type { Config, EngineName } from "../config/index.ts"
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
    yield* run
    return run.result
  })
}

/** What the engine that the config names would do; nothing is trained. */
export async function planOf(config: Config, options: RunOptions = {}): Promise<EnginePlan> {
  const engine = await ENGINES[config.engine.name]()
  return engine.plan(config, options)
}
