/** A task of SkyPilot: a machine of some cloud, the run's files, and what is called there. */
import { stringify } from "yaml"
import type { TorchEngineConfig } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { type JobCommand, jobProcesses, jobScript } from "./job-script.ts"

export interface SkypilotParts {
  readonly engine: TorchEngineConfig
  /** Kind of GPU, with or without a number: `H100`, `H100:8`. */
  readonly accelerators: string
  /** Every folder and file that the task reads or writes, absolute. */
  readonly paths: readonly string[]
  readonly command: JobCommand
  readonly name: string
}

/**
 * @throws InputError for several nodes: SkyPilot's machines share no folder for checkpoints
 */
export function skypilotFile(parts: SkypilotParts): string {
  const { engine, accelerators, name, paths, command } = parts
  if (engine.nnodes > 1) {
    throw new InputError(
      `engine.nnodes: ${engine.nnodes}; SkyPilot's machines share no folder that checkpoints of several nodes could go to: take one node with more GPUs, or launch slurm or kubernetes`,
    )
  }
  const [kind, count] = accelerators.split(":")
  const processes = count === undefined ? jobProcesses(engine) : Number(count)
  if (!kind || !Number.isSafeInteger(processes) || processes < 1) {
    throw new InputError(
      `--accelerators: expected a kind of GPU such as H100:8, got "${accelerators}"`,
    )
  }
  const script = jobScript(command, { processes, meeting: ["--standalone"] })
  const task = {
    name,
    num_nodes: 1,
    resources: { accelerators: `${kind}:${processes}` },
    file_mounts: Object.fromEntries(paths.map((path) => [path, path])),
    run: script,
  }
  return `# Start with: sky launch -c ${name} THIS_FILE. The run's folder comes back with:
# rsync -a ${name}:${command.outputDir}/ ${command.outputDir}/
${stringify(task, { lineWidth: 0 })}`
}
