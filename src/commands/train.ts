import type { Command } from "commander"
import type { Config } from "../config/index.ts"
import { loadConfig } from "../config/load-config.ts"
import { type Run, train } from "../engines/local/train.ts"
import { terminalOptions, terminalView } from "../report/live-view.ts"
import { shortBytes, shortCount } from "../report/units.ts"
import { planRun, type RunPlan } from "../train/plan.ts"
import { interruptible } from "./shell/interrupt.ts"
import { print, printJson, progressLine, say, sayWarning } from "./shell/terminal.ts"

interface Options {
  readonly set?: string[]
  readonly resume?: boolean | string
  readonly dryRun?: boolean
  readonly json?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("<config>", "dftune.yaml, a .json or a TypeScript module")
    .option("--set <key=value...>", "override a setting, e.g. --set learning_rate=1e-5")
    .option("--resume [checkpoint]", "continue output_dir's newest checkpoint, or this one")
    .option("--dry-run", "find the model, prepare the data, say what would happen, train nothing")
    .option("--json", "print every event as a line of JSON on stdout")
    .action(async (path: string, { set = [], resume, dryRun, json }: Options) => {
      const loaded = await loadConfig(path, { set })
      const config: Config = resume === undefined ? loaded : { ...loaded, resume }
      await interruptible(
        async (signal) => {
          if (dryRun) await showPlan(config, signal, json === true)
          else await followRun(await start(config, signal), json === true)
        },
        { stopping: "stopping with a checkpoint" },
      )
    })
}

/** The engine that the config names. */
async function start(config: Config, signal: AbortSignal): Promise<Run> {
  const line = progressLine()
  const onProgress = (message: string) => line.show(message)
  if (config.engine.name === "torch") {
    if (config.engine.launcher === "slurm") {
      const { followTorchRun } = await import("../engines/torch/torch-follow.ts")
      return followTorchRun(config, { signal, onProgress })
    }
    const { trainWithTorch } = await import("../engines/torch/torch-run.ts")
    return trainWithTorch(config, { signal, onProgress })
  }
  return train(config, { signal, onProgress })
}

/** Shows a run's events until it ends. */
export async function followRun(run: Run, json: boolean): Promise<void> {
  const view = terminalView((text) => process.stderr.write(text), terminalOptions(process.stderr))
  try {
    for await (const event of run) {
      if (json) printJson(event)
      else view.show(event)
    }
  } finally {
    view.close()
  }
  const { reason, path, model } = await run.result
  if (json) return
  if (reason === "interrupted") say(`stopped; go on with --resume (${path})`)
  else print(model ?? path)
}

async function showPlan(config: Config, signal: AbortSignal, json: boolean): Promise<void> {
  const line = progressLine()
  const plan = await planRun(config, { signal, onProgress: line.show })
  line.clear()
  for (const { code, message, hint } of plan.lints) sayWarning(code, message, hint)
  const { steps } = plan.order
  const { keep: _, ...memory } = plan.memory
  if (json) printJson({ steps, manifest: plan.rows.manifest, memory })
  else print(planText(plan))
  plan.rows.close()
  for (const { rows } of plan.evalSets) rows.close()
}

function planText({
  config,
  model,
  objective,
  order,
  rows,
  memory,
  microBatchTokens,
}: RunPlan): string {
  const { manifest } = rows
  const lines = [
    `model        ${config.model} (${model.modelType}, ${model.shape.numHiddenLayers} layers)`,
    `objective    ${objective.name}`,
    `rows         ${shortCount(manifest.rows)}, ${shortCount(manifest.tokens)} tokens, ${shortCount(manifest.supervised_tokens)} supervised`,
    `steps        ${order.steps} of ${config.batch_size} rows`,
    `memory       about ${shortBytes(memory.total)}: weights ${shortBytes(memory.weights)}, gradients ${shortBytes(memory.gradients)}, moments ${shortBytes(memory.moments)}, activations ${shortBytes(memory.activations)}, workspace ${shortBytes(memory.workspace)}, process ${shortBytes(memory.process)}`,
    `micro-batch  ${shortCount(microBatchTokens)} tokens`,
    `activations  kept in ${memory.keptLayers} of ${model.shape.numHiddenLayers} layers`,
    `output       ${config.output_dir}`,
  ]
  return lines.join("\n")
}
