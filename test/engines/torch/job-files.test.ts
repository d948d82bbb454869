import { spawn } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { readFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parse, parseAllDocuments } from "yaml"
import { fromJSONSchema } from "zod"
import { parseConfig } from "../../../src/config/index.ts"
import { writeKubernetes, writeSkypilot } from "../../../src/engines/torch/job-files.ts"
import { sumRows, tinyModel } from "../../train/tiny-model.ts"

/** What is written of a TrainJob, as Kubeflow Trainer declares it. */
const SCHEMA = JSON.parse(readFileSync(new URL("./trainjob-schema.json", import.meta.url), "utf8"))

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-jobs-"))
  process.env.DFTUNE_CACHE = join(folder, "cache")
})
afterAll(() => {
  delete process.env.DFTUNE_CACHE
  rmSync(folder, { recursive: true, force: true })
})

const config = (name: string, engine: object) =>
  parseConfig({
    model: tinyModel(folder),
    data: { train: [{ path: sumRows(folder, 12) }], max_length: 64 },
    max_steps: 2,
    batch_size: 4,
    engine: { name: "torch", ...engine },
    output_dir: join(folder, name),
  })

interface Pod {
  readonly containers: readonly {
    readonly command: readonly string[]
    readonly volumeMounts: readonly { readonly mountPath: string }[]
  }[]
  readonly volumes: readonly object[]
}

test("a Job's pods see every path of the run spec, and meet at the first", async () => {
  const engine = { nproc_per_node: 2, nnodes: 3 }
  const claims = ["ssd:/", "more:/mnt"]
  const options = { kind: "job", image: "an/image:1", claims } as const
  const path = await writeKubernetes(config("My Run_1", engine), options)
  const [service, job] = parseAllDocuments(await readFile(path, "utf8")).map((d) => d.toJS())
  expect(service).toMatchObject({ kind: "Service", metadata: { name: "dftune-my-run-1" } })
  expect(job).toMatchObject({
    kind: "Job",
    spec: {
      completionMode: "Indexed",
      completions: 3,
      template: { metadata: { labels: service.spec.selector } },
    },
  })
  const pod = job.spec.template.spec as Pod
  expect(pod.volumes).toContainEqual({
    name: "v0",
    persistentVolumeClaim: { claimName: "ssd" },
  })
  const [, , script] = pod.containers[0]!.command
  expect(script).toContain('--nnodes=3 --node-rank="$JOB_COMPLETION_INDEX"')
  expect(script).toContain("--rdzv-endpoint=dftune-my-run-1-0.dftune-my-run-1:29500")
  expect(script).toContain("--nproc-per-node=2")
})

test("a TrainJob is what Kubeflow declares, and its pods see every path", async () => {
  const engine = { nproc_per_node: 2, nnodes: 3 }
  const options = { image: "an/image:1", claims: ["ssd:/"], namespace: "team" }
  const path = await writeKubernetes(config("trainjob", engine), options)
  const job = parse(await readFile(path, "utf8"))
  expect(fromJSONSchema(SCHEMA).safeParse(job).error?.issues).toBeUndefined()
  expect(job.spec.trainer).toMatchObject({ numNodes: 3, numProcPerNode: 2 })
  const [, , script] = job.spec.trainer.command
  // nodes meet as the runtime says
  expect(script).toMatch(/torch.distributed.run \\\n {2}--nproc-per-node=2/)
  expect(script).not.toContain("rdzv")
  const [patch] = job.spec.runtimePatches
  const pod = patch.trainingRuntimeSpec.template.spec.replicatedJobs[0].template.spec.template.spec
  const claim = { persistentVolumeClaim: { claimName: "ssd" } }
  expect((pod as Pod).volumes).toContainEqual({ name: "v0", ...claim })
  expect((pod as Pod).containers[0]!.volumeMounts[0]).toEqual({ name: "v0", mountPath: "/" })
  // the excerpt says something
  const foreign = { ...job, spec: { ...job.spec, podTemplateOverrides: [] } }
  expect(fromJSONSchema(SCHEMA).safeParse(foreign).success).toBe(false)
})

test("without a claim the folders are the nodes' own; a claim must hold them all", async () => {
  const own = config("own", { nproc_per_node: 1 })
  const path = await writeKubernetes(own, { kind: "job", image: "an/image:1", claims: [] })
  const pod = parse(await readFile(path, "utf8")).spec.template.spec as Pod
  const mounts = pod.containers[0]!.volumeMounts.map(({ mountPath }) => mountPath)
  expect(mounts).toContain(join(folder, "own"))
  expect(mounts).toContain(own.model)
  const other = config("other", { nproc_per_node: 1 })
  await expect(writeKubernetes(other, { image: "x", claims: ["a:/elsewhere"] })).rejects.toThrow(
    /--claim: .* lies in none of \/elsewhere/,
  )
})

test("a task of SkyPilot is one machine, and its script stops with a checkpoint", async () => {
  const nodes = config("nodes", { nnodes: 2 })
  await expect(writeSkypilot(nodes, { accelerators: "H100:8" })).rejects.toThrow(/engine.nnodes: 2/)
  const path = await writeSkypilot(config("sky", {}), { accelerators: "H100:2" })
  const task = parse(await readFile(path, "utf8"))
  expect(task.resources).toEqual({ accelerators: "H100:2" })
  expect(task.file_mounts).toHaveProperty(join(folder, "sky"))
  // a stand-in for Python that trains until it finds the file `stop`
  const bin = join(folder, "bin")
  mkdirSync(bin)
  const stop = join(folder, "sky", "stop")
  const started = join(bin, "started")
  const training = `[ "$1" = -c ] && exit 0\ntouch '${started}'\nwhile ! [ -e '${stop}' ]; do sleep 0.05; done\nexit 7\n`
  writeFileSync(join(bin, "python3"), `#!/bin/sh\n${training}`)
  chmodSync(join(bin, "python3"), 0o755)
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` }
  const child = spawn("/bin/sh", ["-c", task.run], { env, stdio: "ignore" })
  const ended = new Promise((resolve) => child.on("close", resolve))
  await expect.poll(() => existsSync(started), { timeout: 20_000 }).toBe(true)
  child.kill("SIGTERM")
  expect(await ended).toBe(7)
})
