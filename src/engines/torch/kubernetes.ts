/** A Kubernetes Job for a run on one node or several. */
import { stringify } from "yaml"
import type { TorchEngineConfig } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { type JobCommand, jobProcesses, jobScript } from "./job-script.ts"

export interface KubernetesOptions {
  /** A container image with Python; the worker's packages are installed where they are missing. */
  readonly image: string
  /** Volume claims and where they are mounted: `CLAIM:/path`. Without one, the nodes' own folders. */
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

/** An indexed Job, a pod a node, which meet at the first one's name. */
export function kubernetesFile(parts: KubernetesParts): string {
  const { engine, name, namespace, image } = parts
  const processes = jobProcesses(engine)
  const nodes = engine.nnodes
  const meeting =
    nodes === 1
      ? ["--standalone"]
      : [
          `--nnodes=${nodes} --node-rank="$JOB_COMPLETION_INDEX"`,
          `--rdzv-backend=c10d --rdzv-id=${name} --rdzv-endpoint=${name}-0.${name}:${PORT}`,
        ]
  const volumes = [
    ...volumesOf(parts),
    { mount: "/dev/shm", volume: { emptyDir: { medium: "Memory" } } }, // NCCL's
  ].map(({ mount, volume }, i) => ({ mount, volume: { name: `v${i}`, ...volume } }))
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) }
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
        volumeMounts: volumes.map(({ mount, volume }) => ({
          name: volume.name,
          mountPath: mount,
        })),
      },
    ],
    volumes: volumes.map(({ volume }) => volume),
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
  const documents = nodes === 1 ? [job] : [service, job]
  const text = documents.map((document) => stringify(document, { lineWidth: 0 })).join("---\n")
  return `# Submit with: kubectl apply -f THIS_FILE. To stop early with a checkpoint: kubectl delete job ${name},
# or make a file named stop in the run's folder. The events are in its events.jsonl.
${text}`
}

/** The volumes in which all paths lie: claims, or the nodes' own folders. */
function volumesOf({ claims, paths }: KubernetesParts) {
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
