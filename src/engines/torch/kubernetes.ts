/**
 * A run on one node of a Kubernetes cluster or several: a TrainJob of Kubeflow's, or a plain Job.
 */
import { stringify } from "yaml"
import type { TorchEngineConfig } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { type JobCommand, jobProcesses, jobScript } from "./job-script.ts"

export const KUBERNETES_KINDS = ["trainjob", "job"] as const

export interface KubernetesOptions {
  /**
   * `trainjob`: Kubeflow Trainer runs it, by its runtime for torch; `job`: nothing but Kubernetes
   * does.
   */
  readonly kind?: (typeof KUBERNETES_KINDS)[number]
  /** A container image with Python; the worker's packages are installed where they are missing. */
  readonly image: string
  /**
   * Volume claims and where they are mounted: `CLAIM:/path`. Without one, the nodes' own folders.
   */
  readonly claims: readonly string[]
  readonly namespace?: string
}

export interface KubernetesParts extends KubernetesOptions {
  readonly engine: TorchEngineConfig
  /** Every folder and file that the pods read or write, absolute. */
  readonly paths: readonly string[]
  readonly command: JobCommand
  readonly name: string
}

const PORT = 29500
/** Seconds in which a run that is told to end writes its checkpoint. */
const GRACE_SECONDS = 300

export function kubernetesFile({ kind = "trainjob", ...parts }: KubernetesParts): string {
  const documents = kind === "job" ? jobDocuments(parts) : [trainJob(parts)]
  const text = documents.map((document) => stringify(document, { lineWidth: 0 })).join("---\n")
  return `# Submit with: kubectl apply -f THIS_FILE. To stop early with a checkpoint: kubectl delete ${kind} ${parts.name},
# or make a file named stop in the run's folder. The events are in its events.jsonl.
${text}`
}

type Parts = Omit<KubernetesParts, "kind">

/** The runtime that Kubeflow Trainer brings along, and the container in it that trains. */
const RUNTIME = "torch-distributed"
const TRAINER_CONTAINER = "node"

/**
 * A TrainJob (trainer.kubeflow.org/v1alpha1, as of Kubeflow Trainer 2.3): nodes meet as the runtime
 * tells torchrun (PET_ variables); the volumes are a patch of the runtime's pods.
 */
function trainJob(parts: Parts) {
  const { engine, image } = parts
  const processes = jobProcesses(engine)
  const { mounts, volumes } = podVolumes(parts)
  const pod = {
    terminationGracePeriodSeconds: GRACE_SECONDS,
    containers: [{ name: TRAINER_CONTAINER, volumeMounts: mounts }],
    volumes,
  }
  const replicatedJobs = [
    { name: TRAINER_CONTAINER, template: { spec: { template: { spec: pod } } } },
  ]
  return {
    apiVersion: "trainer.kubeflow.org/v1alpha1",
    kind: "TrainJob",
    metadata: metadataOf(parts),
    spec: {
      runtimeRef: { name: RUNTIME },
      trainer: {
        image,
        command: ["/bin/sh", "-c", jobScript(parts.command, { processes, meeting: [] })],
        numNodes: engine.nnodes,
        numProcPerNode: processes,
        resourcesPerNode: { limits: { "nvidia.com/gpu": processes } },
      },
      runtimePatches: [
        { manager: "dftune", trainingRuntimeSpec: { template: { spec: { replicatedJobs } } } },
      ],
    },
  }
}

const metadataOf = ({ name, namespace }: Parts) => ({
  name,
  ...(namespace === undefined ? {} : { namespace }),
})

/** An indexed Job, a pod a node, which meet at the first one's name. */
function jobDocuments(parts: Parts): object[] {
  const { engine, name, image } = parts
  const processes = jobProcesses(engine)
  const nodes = engine.nnodes
  const meeting =
    nodes === 1
      ? ["--standalone"]
      : [
          `--nnodes=${nodes} --node-rank="$JOB_COMPLETION_INDEX"`,
          `--rdzv-backend=c10d --rdzv-id=${name} --rdzv-endpoint=${name}-0.${name}:${PORT}`,
        ]
  const { mounts, volumes } = podVolumes(parts)
  const metadata = metadataOf(parts)
  const pod = {
    subdomain: name,
    restartPolicy: "Never",
    terminationGracePeriodSeconds: GRACE_SECONDS,
    containers: [
      {
        name: "train",
        image,
        command: ["/bin/sh", "-c", jobScript(parts.command, { processes, meeting })],
        resources: { limits: { "nvidia.com/gpu": processes } },
        volumeMounts: mounts,
      },
    ],
    volumes,
  }
  const job = {
    apiVersion: "batch/v1",
    kind: "Job",
    metadata,
    spec: {
      completionMode: "Indexed",
      completions: nodes,
      parallelism: nodes,
      backoffLimit: 0,
      template: { metadata: { labels: { "dftune-run": name } }, spec: pod },
    },
  }
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata,
    spec: { clusterIP: "None", selector: { "dftune-run": name }, ports: [{ port: PORT }] },
  }
  return nodes === 1 ? [job] : [service, job]
}

/** What the pods mount: their paths, and the memory that NCCL shares. */
function podVolumes(parts: Parts) {
  const all = [
    ...volumesOf(parts),
    { mount: "/dev/shm", volume: { emptyDir: { medium: "Memory" } } },
  ]
  return {
    mounts: all.map(({ mount }, i) => ({ name: `v${i}`, mountPath: mount })),
    volumes: all.map(({ volume }, i) => ({ name: `v${i}`, ...volume })),
  }
}

/** The volumes in which all paths lie: claims, or the nodes' own folders. */
function volumesOf({ claims, paths }: Parts) {
  if (claims.length === 0) {
    return paths.map((path) => ({ mount: path, volume: { hostPath: { path } } }))
  }
  const mounts = claims.map((claim) => {
    const at = claim.indexOf(":/")
    if (at <= 0) throw new InputError(`--claim: expected CLAIM:/path, got "${claim}"`)
    return { mount: claim.slice(at + 1), claimName: claim.slice(0, at) }
  })
  const bare = paths.find(
    (path) => !mounts.some(({ mount }) => `${path}/`.startsWith(`${mount.replace(/\/$/, "")}/`)),
  )
  if (bare !== undefined) {
    throw new InputError(
      `--claim: ${bare} lies in none of ${mounts.map(({ mount }) => mount).join(", ")}; the pods read and write it, under the same path as here`,
    )
  }
  return mounts.map(({ mount, claimName }) => ({
    mount,
    volume: { persistentVolumeClaim: { claimName } },
  }))
}
