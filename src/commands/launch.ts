import { type Command, Option } from "commander"
import type { Config } from "../config/index.ts"
import { loadConfig } from "../config/load-config.ts"
import { KUBERNETES_KINDS } from "../engines/torch/kubernetes.ts"
import { ACCELERATORS, IMAGE, type WrittenJob, writeJob } from "../engines/torch/launch.ts"
import { trainWithTorch } from "../engines/torch/torch-run.ts"
import { interruptible } from "./shell/interrupt.ts"
import { collected, setOption } from "./shell/option-values.ts"
import { progressLine } from "./shell/progress-line.ts"
import { print, printJson, say } from "./shell/terminal.ts"
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
      const write = (signal: AbortSignal) => writeJob("slurm", config, { signal, torchrunArgs })
      told(await interruptible(write), options)
    })
  elsewhere(verb)
}

interface KubernetesFlags extends Options {
  readonly kind: (typeof KUBERNETES_KINDS)[number]
  readonly image: string
  readonly claim: string[]
  readonly namespace?: string
}

interface SkypilotFlags extends Options {
  readonly accelerators: string
}

function elsewhere(verb: Command): void {
  launcher(verb, "kubernetes", "prepare the data and write a TrainJob, or a Job")
    .addOption(
      new Option("--kind <kind>", "Kubeflow's TrainJob, or Kubernetes' own Job")
        .choices(KUBERNETES_KINDS)
        .default("trainjob"),
    )
    .option("--image <image>", "container image; what the worker lacks is installed", IMAGE)
    .option("--claim <claim:/path>", "volume claim and its mount; repeatable", collected, [])
    .option("--namespace <name>", "of the Job")
    .option("--json", "print one JSON document about what was written")
    .addHelpText("after", KUBERNETES_PATHS)
    .action(async (path: string, torchrunArgs: string[], options: KubernetesFlags) => {
      const config = await read(path, options)
      const { kind, image, claim: claims, namespace } = options
      const own = { kind, image, claims, torchrunArgs, namespace }
      const write = (signal: AbortSignal) => writeJob("kubernetes", config, { signal, ...own })
      told(await interruptible(write), options)
    })
  launcher(verb, "skypilot", "prepare the data and write a task of SkyPilot")
    .option("--accelerators <kind:count>", "GPUs of the machine, such as H100:8", ACCELERATORS)
    .option("--json", "print one JSON document about what was written")
    .action(async (path: string, torchrunArgs: string[], options: SkypilotFlags) => {
      const config = await read(path, options)
      const { accelerators } = options
      const write = (signal: AbortSignal) =>
        writeJob("skypilot", config, { signal, torchrunArgs, accelerators })
      told(await interruptible(write), options)
    })
}

const KUBERNETES_PATHS = `
The pods find model, prepared rows and output_dir under the same paths as here: in the volumes of
--claim, or without one in folders of the nodes themselves (one node, or a shared file system).`

function told({ file, submit }: WrittenJob, { json }: Options): void {
  say(`written; submit it with ${submit}`)
  if (json) printJson({ file })
  else print(file)
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
