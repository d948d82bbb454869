/** An sbatch file for a run on several nodes. */
import type { Config, TorchEngineConfig } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { shellWord } from "../../host/shell-word.ts"
import { WORKER_FOLDER } from "./environment.ts"
import { stoppable } from "./job-script.ts"

export interface SbatchParts {
  readonly config: Config
  readonly engine: TorchEngineConfig
  /** Absolute, on a file system that every node sees. */
  readonly specPath: string
  readonly outputDir: string
  readonly python: string
  readonly torchrunArgs: readonly string[]
}

/** Without a number of its own a task gets one core, which all its processes would share. */
const CPUS_PER_PROCESS = 4

/** Seconds before the time limit at which the run is asked to write a checkpoint and stop. */
const WARNING_SECONDS = 300

/**
 * One torchrun on each node, which meet at the first. A signal shortly before the time limit (or
 * `scancel --signal=USR1`) makes a file named `stop`: the run checkpoints and ends cleanly.
 */
export function sbatchFile({
  config,
  engine,
  specPath,
  outputDir,
  python,
  torchrunArgs,
}: SbatchParts): string {
  const processes = engine.nproc_per_node === "auto" ? undefined : engine.nproc_per_node
  const asksGpus = Object.keys(engine.sbatch ?? {}).some((name) =>
    /^(gpus|gres|exclusive)/.test(name),
  )
  if (processes === undefined && !asksGpus) {
    throw new InputError(
      "engine.nproc_per_node: auto; a job gets the GPUs it asks for: give engine.nproc_per_node (GPUs of a node), or engine.sbatch with gpus-per-node or gres",
    )
  }
  const own: Record<string, string | number> = {
    "job-name": `dftune-${config.objective.name}`,
    nodes: engine.nnodes,
    "ntasks-per-node": 1,
    ...(processes === undefined
      ? {}
      : { "gpus-per-node": processes, "cpus-per-task": processes * CPUS_PER_PROCESS }),
    output: `${logFolder(outputDir)}/slurm-%j.log`,
    "open-mode": "append",
    signal: `B:USR1@${WARNING_SECONDS}`,
  }
  const options = sbatchLines({ ...own, ...engine.sbatch }, "engine.sbatch")
  const torchrun = [
    shellWord(python),
    "-m torch.distributed.run",
    '--nnodes="$SLURM_NNODES"',
    `--nproc-per-node=${processes ?? "gpu"}`,
    '--rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$head:$port"',
    ...torchrunArgs.map(shellWord),
    `-m dftune_worker ${shellWord(specPath)}`,
  ]
  return `#!/bin/bash
${options}

# Submit with: sbatch THIS_FILE. dftune train CONFIG follows it (engine.launcher: slurm).
# To stop early with a checkpoint: touch ${shellWord(`${outputDir}/stop`)}, or scancel --signal=USR1 --batch JOB.
set -euo pipefail

export PYTHONPATH=${shellWord(WORKER_FOLDER)}\${PYTHONPATH:+:$PYTHONPATH}
export PYTORCH_CUDA_ALLOC_CONF=\${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export OMP_NUM_THREADS=\${OMP_NUM_THREADS:-${CPUS_PER_PROCESS}}
export SRUN_CPUS_PER_TASK=\${SLURM_CPUS_PER_TASK:-1} # srun does not take it from sbatch by itself

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p) # reads to the end: scontrol is not cut off
port=$((20000 + SLURM_JOB_ID % 20000)) # jobs that share a node do not share a port
${stoppable(`srun --kill-on-bad-exit=1 ${torchrun.join(" \\\n  ")}`, outputDir)}`
}

/** A folder in the name of a job's log, where % begins what sbatch fills in. */
export const logFolder = (folder: string): string => folder.replaceAll("%", "%%")

/**
 * Options of sbatch as the first lines of its file have them.
 *
 * @throws InputError naming the option below `key` that is none
 */
export function sbatchLines(
  options: Readonly<Record<string, string | number>>,
  key: string,
): string {
  const lines = Object.entries(options).map(([name, value]) => {
    const word = `${value}`
    if (!/^[a-z][a-z-]*$/.test(name) || /[\r\n"]/.test(word)) {
      throw new InputError(`${key}.${name}: expected an option of sbatch, such as partition: gpu`)
    }
    // outside of quotes sbatch reads # as a comment and ' as a quote
    return `#SBATCH --${name}=${/^[\w@%+=:,./-]*$/.test(word) ? word : `"${word}"`}`
  })
  return lines.join("\n")
}
