/** `dftune launch`: a run of engine: torch on processes, nodes and clusters. */
import type { Config } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { writeKubernetes, writeSkypilot } from "./job-files.ts"
import type { KubernetesOptions } from "./kubernetes.ts"
import { type TorchOptions, writeSbatch } from "./torch-run.ts"

export interface JobOptions extends TorchOptions {
  /** kubernetes: Kubeflow's TrainJob (the default), or Kubernetes' own Job. */
  readonly kind?: KubernetesOptions["kind"] | undefined
  /** kubernetes: what the pods run; what the worker lacks is installed in it. */
  readonly image?: string | undefined
  /** kubernetes: volume claims and their mounts, as `claim:/path`. */
  readonly claims?: readonly string[] | undefined
  /** kubernetes: of the Job. */
  readonly namespace?: string | undefined
  /** skypilot: GPUs of the machine, such as H100:8. */
  readonly accelerators?: string | undefined
}

export interface WrittenJob {
  readonly file: string
  /** The command that takes the file. */
  readonly submit: string
}

export const IMAGE = "pytorch/pytorch:latest"
export const ACCELERATORS = "H100"

type Written = (config: Config, options: JobOptions) => Promise<string>

const JOBS = {
  slurm: { submit: "sbatch", write: writeSbatch },
  kubernetes: {
    submit: "kubectl apply -f",
    write: (config, { kind = "trainjob", image = IMAGE, claims = [], namespace, ...options }) =>
      writeKubernetes(config, {
        ...options,
        kind,
        image,
        claims,
        ...(namespace === undefined ? {} : { namespace }),
      }),
  },
  skypilot: {
    submit: "sky launch",
    write: (config, { accelerators = ACCELERATORS, ...options }) =>
      writeSkypilot(config, { ...options, accelerators }),
  },
} as const satisfies Record<string, { readonly submit: string; readonly write: Written }>

export type JobKind = keyof typeof JOBS

/**
 * Prepares a run's data and writes the job that trains it elsewhere.
 *
 * @throws InputError for a config that such a job cannot train
 */
export async function writeJob(
  kind: JobKind,
  config: Config,
  options: JobOptions = {},
): Promise<WrittenJob> {
  if (!Object.hasOwn(JOBS, kind)) {
    throw new InputError(
      `launch: expected ${Object.keys(JOBS).join(", ")}, got ${JSON.stringify(kind)}`,
    )
  }
  const { submit, write } = JOBS[kind]
  return { file: await write(config, options), submit }
}
