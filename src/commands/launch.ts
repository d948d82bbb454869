import type { Command } from "commander"
import type { Config } from "../config/index.ts"
import { loadConfig } from "../config/load-config.ts"
import { trainWithTorch, writeSbatch } from "../engines/torch/torch-run.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { print, printJson, progressLine, say } from "./shell/terminal.ts"
import { followRun } from "./train.ts"

interface Options {
  readonly set?: string[]
  readonly resume?: boolean | string
  readonly json?: boolean
}

export function command(verb: Command): void {
  launcher(verb, "torchrun", "train here on engine: torch; of several nodes, run it on each")
    .option("--json", "print every event as a line of JSON on stdout")
    .action(async (path: string, torchrunArgs: string[], options: Options) => {
      const config = await read(path, options)
      const line = progressLine()
      await interruptible(
        (signal) => {
          const run = trainWithTorch(config, { signal, torchrunArgs, onProgress: line.show })
          return followRun(run, options.json === true)
        },
        { stopping: "stopping all processes after this step, with a checkpoint" },
      )
    })
  launcher(verb, "slurm", "prepare the data and write an sbatch file")
    .option("--json", "print one JSON document about what was written")
    .action(async (path: string, torchrunArgs: string[], options: Options) => {
      const config = await read(path, options)
      const file = await interruptible((signal) => writeSbatch(config, { signal, torchrunArgs }))
      say("written; submit it with sbatch")
      if (options.json) printJson({ file })
      else print(file)
    })
}

function launcher(verb: Command, name: string, summary: string): Command {
  return verb
    .command(name)
    .description(summary)
    .argument("<config>", "dftune.yaml, a .json or a TypeScript module")
    .argument("[torchrun...]", "after --: arguments for torchrun")
    .addOption(setOption())
    .option("--resume [checkpoint]", "continue output_dir's newest checkpoint, or this one")
}

async function read(path: string, { set = [], resume }: Options): Promise<Config> {
  const loaded = await loadConfig(path, { set, fixedOutput: true })
  return resume === undefined ? loaded : { ...loaded, resume }
}
