/** What jobs on other machines call. */
import { cpSync } from "node:fs"
import { dirname, join } from "node:path"
import type { TorchEngineConfig } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { shellWord } from "../../host/shell-word.ts"
import { WORKER_FOLDER } from "./environment.ts"

/** A shell's lines: a signal makes a file named `stop`, and the run ends with a checkpoint. */
export const stoppable = (command: string, outputDir: string): string =>
  `trap ${shellWord(`touch ${shellWord(`${outputDir}/stop`)}`)} USR1 TERM

${command} &
worker=$!
# A signal ends a wait early; the run still has its checkpoint to write.
while :; do
  code=0
  wait "$worker" || code=$?
  kill -0 "$worker" 2>/dev/null || break
done
exit "$code"
`

/** Copies the worker beside the run spec, so that the job needs no dftune; returns the folder. */
export function copyWorker(specPath: string): string {
  const folder = join(dirname(specPath), "worker")
  for (const name of ["dftune_worker", "requirements.txt"]) {
    cpSync(join(WORKER_FOLDER, name), join(folder, name), {
      recursive: true,
      filter: (path) => !path.includes("__pycache__"),
    })
  }
  return folder
}

/** Processes of a node of a job, which has as many GPUs as it asks for. */
export function jobProcesses({ nproc_per_node: processes }: TorchEngineConfig): number {
  if (processes !== "auto") return processes
  throw new InputError(
    "engine.nproc_per_node: auto; a job gets the GPUs it asks for: give engine.nproc_per_node, the GPUs of a node",
  )
}

export interface JobCommand {
  readonly specPath: string
  readonly outputDir: string
  readonly workerFolder: string
  readonly torchrunArgs: readonly string[]
}

/** A shell's lines that train: the worker's packages where they are missing, then torchrun. */
export function jobScript(
  { specPath, outputDir, workerFolder, torchrunArgs }: JobCommand,
  { processes, meeting }: { readonly processes: number; readonly meeting: readonly string[] },
): string {
  const torchrun = [
    "python3 -m torch.distributed.run",
    ...meeting,
    `--nproc-per-node=${processes}`,
    ...torchrunArgs.map(shellWord),
    `-m dftune_worker ${shellWord(specPath)}`,
  ]
  const requirements = shellWord(join(workerFolder, "requirements.txt"))
  return `set -eu
python3 -c 'import torch, transformers, peft, safetensors' || python3 -m pip install -r ${requirements}
export PYTHONPATH=${shellWord(workerFolder)} HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
${stoppable(torchrun.join(" \\\n  "), outputDir)}`
}
