/** Runs that are prepared here and trained elsewhere: the files that others' programs submit. */
import { existsSync, lstatSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs"
import { basename, dirname, join, relative } from "node:path"
import type { Config } from "../../config/index.ts"
import { writeFileAtomic } from "../../formats/index.ts"
import { copyWorker, type JobCommand } from "./job-script.ts"
import { type KubernetesOptions, kubernetesFile } from "./kubernetes.ts"
import { skypilotFile } from "./skypilot.ts"
import { type PreparedJob, prepareJob, type TorchOptions } from "./torch-run.ts"

/** Prepares a run and writes a TrainJob of Kubeflow's, or a Kubernetes Job. Returns its path. */
export async function writeKubernetes(
  config: Config,
  { kind, image, claims, namespace, ...options }: TorchOptions & KubernetesOptions,
): Promise<string> {
  const job = await prepareJob(config, options)
  const own = { ...(kind ? { kind } : {}), ...(namespace === undefined ? {} : { namespace }) }
  const text = kubernetesFile({ ...parts(job, options), image, claims, ...own })
  return written(job, "run.kubernetes.yaml", text)
}

/** Prepares a run and writes a task of SkyPilot. Returns its path. */
export async function writeSkypilot(
  config: Config,
  { accelerators, ...options }: TorchOptions & { readonly accelerators: string },
): Promise<string> {
  const job = await prepareJob(config, options)
  const text = skypilotFile({ ...parts(job, options), accelerators })
  return written(job, "run.skypilot.yaml", text)
}

async function written({ outputDir }: PreparedJob, name: string, text: string): Promise<string> {
  const path = join(outputDir, name)
  await writeFileAtomic(path, text)
  return path
}

function parts({ engine, specPath, outputDir }: PreparedJob, options: TorchOptions) {
  const workerFolder = copyWorker(specPath)
  const { torchrunArgs = [] } = options
  const command: JobCommand = { specPath, outputDir, workerFolder, torchrunArgs }
  return { engine, command, paths: jobPaths(specPath, outputDir), name: jobName(outputDir) }
}

/** As Kubernetes and SkyPilot take names: lower case, digits and dashes, at most 40 of them. */
function jobName(outputDir: string): string {
  const word = basename(outputDir)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
  return `dftune-${word}`.slice(0, 40).replace(/-+$/, "")
}

/**
 * Folders and files that the worker reads and writes, the outermost of each; what links lead to
 * too.
 */
function jobPaths(specPath: string, outputDir: string): string[] {
  const { config: _, ...spec } = JSON.parse(readFileSync(specPath, "utf8")) as Record<
    string,
    unknown
  >
  const named = [outputDir, ...texts(spec)]
  const there = named.filter((path) => path.startsWith("/") && existsSync(path))
  const all = [...new Set(there.flatMap((path) => [path, ...linkedFolders(path)]))]
  return all.filter((path) => !all.some((other) => other !== path && isWithin(path, other)))
}

const texts = (value: unknown): string[] =>
  typeof value === "string"
    ? [value]
    : typeof value === "object" && value !== null
      ? Object.values(value).flatMap(texts)
      : []

/** Where the links of a folder lead: the hub's cache keeps its files elsewhere. */
function linkedFolders(path: string): string[] {
  if (!statSync(path).isDirectory()) return []
  return readdirSync(path)
    .map((name) => join(path, name))
    .filter((file) => lstatSync(file).isSymbolicLink() && existsSync(file))
    .map((file) => dirname(realpathSync(file)))
}

/** Whether a path is a folder or lies in it. */
function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way === "" || (!way.startsWith("..") && !way.startsWith("/"))
}
