/** The command line that runs the worker: Python alone, or torchrun. */

import { availableParallelism } from "node:os"
import { delimiter } from "node:path"
import type { TorchEngineConfig } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { plural } from "../../plural.ts"
import { type PythonEnvironment, WORKER_FOLDER } from "./environment.ts"

export interface LaunchCommand {
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly processes: number
}

/** Processes on this node: as asked, or one a GPU, or one. */
export function processesPerNode({ nproc_per_node }: TorchEngineConfig, gpus: number): number {
  if (nproc_per_node === "auto") return Math.max(1, gpus)
  if (gpus > 0 && nproc_per_node > gpus) {
    throw new InputError(
      `engine.nproc_per_node: ${nproc_per_node} processes, but this machine has ${gpus} ${plural(gpus, "GPU")}; lower it, or leave it out`,
    )
  }
  return nproc_per_node
}

function checkShared(processes: number, { context_parallel: sharers }: TorchEngineConfig): void {
  if (processes % sharers === 0) return
  throw new InputError(
    `engine.context_parallel: ${sharers} processes are to share every row, but there ${processes === 1 ? "is 1" : `are ${processes}`}; give engine.nproc_per_node so that ${sharers} divides nproc_per_node x nnodes`,
  )
}

/**
 * `torchrunArgs` are handed to torchrun as they are, e.g. `--rdzv-endpoint host:29500 --node-rank
 * 1`.
 */
export function launchCommand(
  specPath: string,
  engine: TorchEngineConfig,
  { python, gpus }: Pick<PythonEnvironment, "python" | "gpus">,
  torchrunArgs: readonly string[] = [],
): LaunchCommand {
  const processes = processesPerNode(engine, gpus)
  checkShared(processes * engine.nnodes, engine)
  const env = workerEnvironment(processes)
  if (processes === 1 && engine.nnodes === 1 && torchrunArgs.length === 0) {
    return { command: python, args: ["-m", "dftune_worker", specPath], env, processes }
  }
  const meets = torchrunArgs.some((arg) => /^--(rdzv|master)[-_]/.test(arg))
  if (engine.nnodes > 1 && (!meets || nodeRank(torchrunArgs) === undefined)) {
    throw new InputError(
      `engine.nnodes: ${engine.nnodes} nodes need a meeting point and a number each; give both after --, on every node: ` +
        "dftune launch torchrun CONFIG -- --rdzv-backend c10d --rdzv-endpoint HOST:29500 --rdzv-id RUN --node-rank 0 (then 1, ...)",
    )
  }
  const nodes =
    engine.nnodes === 1 && !meets
      ? ["--standalone"] // torchrun finds a free port by itself
      : [`--nnodes=${engine.nnodes}`]
  const args = ["-m", "dftune_worker.agent", ...nodes, `--nproc-per-node=${processes}`]
  return {
    command: python,
    args: [...args, ...torchrunArgs, "-m", "dftune_worker", specPath],
    env,
    processes,
  }
}

/**
 * This node's number as torchrun is told it; undefined when it is not. Node 0 prepares the run and
 * owns its folder, the others join. (A rendezvous gives ranks as it likes; this is for us.)
 */
export function nodeRank(torchrunArgs: readonly string[]): number | undefined {
  const at = torchrunArgs.findIndex((arg) => /^--node[-_]rank(=|$)/.test(arg))
  if (at === -1) return undefined
  const text = torchrunArgs[at]!.split("=")[1] ?? torchrunArgs[at + 1] ?? ""
  if (/^\d+$/.test(text)) return Number(text)
  throw new InputError(`--node-rank: expected this node's number, from 0; got ${text || "nothing"}`)
}

/** What the worker's processes find in their environment; the user's own settings win. */
function workerEnvironment(processes: number): Record<string, string> {
  const { PYTHONPATH, OMP_NUM_THREADS } = process.env
  const threads = Math.max(1, Math.floor(availableParallelism() / processes))
  return {
    THP_MEM_ALLOC_ENABLE: "1", // large pages: a step's fresh tensors cost fewer faults
    PYTORCH_CUDA_ALLOC_CONF: "expandable_segments:True", // micro-batches differ in size
    ...(process.env as Record<string, string>),
    DFTUNE_LAUNCHED: "1",
    HF_HUB_OFFLINE: "1",
    TOKENIZERS_PARALLELISM: "false",
    OMP_NUM_THREADS: OMP_NUM_THREADS ?? `${threads}`,
    PYTHONPATH: PYTHONPATH ? `${WORKER_FOLDER}${delimiter}${PYTHONPATH}` : WORKER_FOLDER,
    PYTHONUNBUFFERED: "1",
  }
}
