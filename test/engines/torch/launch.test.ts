import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type ConfigInput, parseConfig, type TorchEngineConfig } from "../../../src/config/index.ts"
import { isOlder } from "../../../src/engines/torch/environment.ts"
import {
  checkPython,
  followEvents,
  launchCommand,
  nodeRank,
  sbatchFile,
  workerRun,
} from "../../../src/engines/torch/index.ts"
import { trainWithTorch, writeSbatch } from "../../../src/engines/torch/torch-run.ts"
import { sumRows, tinyModel } from "../../train/tiny-model.ts"
import { PYTHON, WITH_PYTHON } from "./python.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-torch-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function config(more: Partial<ConfigInput> = {}) {
  return parseConfig({
    model: tinyModel(folder),
    data: { train: [{ path: sumRows(folder, 12) }], max_length: 64 },
    max_steps: 2,
    batch_size: 4,
    engine: "torch",
    output_dir: join(folder, "run"),
    ...more,
  })
}
const engine = (more: Partial<TorchEngineConfig> = {}) =>
  ({ ...config().engine, ...more }) as TorchEngineConfig
const environment = { python: "python3", gpus: 0 }

describe("the command line of the worker", () => {
  test("one process is Python alone, several are torchrun on a free port", () => {
    expect(launchCommand("/s.json", engine(), environment).args).toEqual([
      "-m",
      "dftune_worker",
      "/s.json",
    ])
    const two = launchCommand("/s.json", engine({ nproc_per_node: 2 }), environment)
    expect(two.args).toEqual([
      "-m",
      "dftune_worker.agent",
      "--standalone",
      "--nproc-per-node=2",
      "-m",
      "dftune_worker",
      "/s.json",
    ])
    expect(launchCommand("/s.json", engine(), { ...environment, gpus: 4 }).processes).toBe(4)
  })

  test("what torchrun is told goes through", () => {
    const more = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "host:29500", "--node-rank=1"]
    const { args } = launchCommand("/s.json", engine({ nnodes: 2 }), environment, more)
    expect(args).toEqual([
      "-m",
      "dftune_worker.agent",
      "--nnodes=2",
      "--nproc-per-node=1",
      ...more,
      "-m",
      "dftune_worker",
      "/s.json",
    ])
  })

  test("an argument that names no meeting point leaves the port to torchrun", () => {
    const { args } = launchCommand("/s.json", engine(), environment, ["--max-restarts=1"])
    expect(args.slice(2, 5)).toEqual(["--standalone", "--nproc-per-node=1", "--max-restarts=1"])
  })

  test.each([
    [["--node-rank=3"], 3],
    [["--rdzv-id", "a", "--node_rank", "0"], 0],
    [["--rdzv-id", "a"], undefined],
  ])("%j is node %s", (args, rank) => expect(nodeRank(args)).toBe(rank))
  test("a node's number is a number", () => {
    expect(() => nodeRank(["--node-rank", "--rdzv-id"])).toThrow(/expected this node's number/)
  })

  test("several nodes need a meeting point, more processes than GPUs are refused", () => {
    const nodes = engine({ nnodes: 2 })
    expect(() => launchCommand("/s.json", nodes, environment)).toThrow(/--rdzv-endpoint/)
    const unnumbered = ["--rdzv-endpoint=host:29500"]
    expect(() => launchCommand("/s.json", nodes, environment, unnumbered)).toThrow(/--node-rank 0/)
    const three = engine({ nproc_per_node: 3 })
    expect(() => launchCommand("/s.json", three, { python: "p", gpus: 2 })).toThrow(
      /this machine has 2 GPUs/,
    )
  })
})

describe("sbatch", () => {
  const parts = {
    specPath: "/shared/my run/torch/run-spec.json",
    outputDir: "/shared/my run",
    python: "/opt/venv/bin/python",
    torchrunArgs: ["--max-restarts=1"],
  }
  test("a file that bash reads, with the config's own options", () => {
    const asked = engine({
      nnodes: 4,
      nproc_per_node: 8,
      sbatch: { partition: "gpu", time: "04:00:00" },
    })
    const text = sbatchFile({ ...parts, config: config(), engine: asked })
    for (const line of [
      "--nodes=4",
      "--gpus-per-node=8",
      "--partition=gpu",
      "--time=04:00:00",
      "--ntasks-per-node=1",
    ]) {
      expect(text).toContain(`#SBATCH ${line}\n`)
    }
    expect(text).toContain("'/shared/my run/torch/run-spec.json'")
    expect(text).toContain("--max-restarts=1")
    expect(spawnSync("bash", ["-n"], { input: text, encoding: "utf8" })).toMatchObject({
      status: 0,
      stderr: "",
    })
  })
  test("an option that would break out of its line is refused", () => {
    const asked = engine({ nproc_per_node: 1, sbatch: { partition: "gpu\nrm -rf /" } })
    expect(() => sbatchFile({ ...parts, config: config(), engine: asked })).toThrow(
      /engine.sbatch.partition/,
    )
  })
  test("a job that would get no GPU is refused", () => {
    expect(() => sbatchFile({ ...parts, config: config(), engine: engine() })).toThrow(
      /give engine.nproc_per_node/,
    )
    const asked = engine({ sbatch: { gres: "gpu:4" } })
    const text = sbatchFile({ ...parts, config: config(), engine: asked })
    expect(text).toContain("--nproc-per-node=gpu")
    expect(text).toContain(`#SBATCH --output="/shared/my run/slurm-%j.log"`)
    const odd = { ...parts, config: config(), engine: asked, outputDir: "/it's/50%#1" }
    expect(sbatchFile(odd)).toContain(`#SBATCH --output="/it's/50%%#1/slurm-%j.log"\n`)
  })

  /** Runs the file with a Slurm made of two shell scripts; `srun` is the given one. */
  function job(name: string, srun: string) {
    const bin = join(folder, name)
    mkdirSync(bin)
    const script = (file: string, text: string) =>
      writeFileSync(join(bin, file), `#!/bin/sh\n${text}\n`, { mode: 0o755 })
    script("srun", srun)
    script("scontrol", "seq -f node-%.0f 1 50000") // more than a pipe holds
    const asked = {
      ...parts,
      outputDir: bin,
      config: config(),
      engine: engine({ nnodes: 2, nproc_per_node: 2 }),
    }
    writeFileSync(join(bin, "run.sbatch"), sbatchFile(asked))
    const env = {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      SLURM_JOB_ID: "123456",
      SLURM_NNODES: "2",
      SLURM_JOB_NODELIST: "node-[1-2]",
    }
    return { bin, child: spawn("bash", [join(bin, "run.sbatch")], { env, stdio: "ignore" }) }
  }
  const codeOf = (child: ChildProcess) =>
    new Promise<number | null>((resolve) => child.on("close", resolve))

  test("the job ends with the run's own code, and meets at the first node", async () => {
    const { bin, child } = job("ends", `echo "$@" > "$(dirname "$0")/arguments"; exit 3`)
    expect(await codeOf(child)).toBe(3)
    const given = readFileSync(join(bin, "arguments"), "utf8")
    expect(given).toContain("--rdzv-endpoint=node-1:23456 ")
    expect(given).toContain("--nnodes=2 --nproc-per-node=2")
  })

  test("a signal before the time limit asks for a checkpoint and waits for it", async () => {
    const wait = `touch "$(dirname "$0")/started"; while [ ! -e "$(dirname "$0")/stop" ]; do sleep 0.05; done; sleep 0.2; exit 0`
    const { bin, child } = job("signalled", wait)
    while (!existsSync(join(bin, "started"))) await new Promise((r) => setTimeout(r, 20))
    child.kill("SIGUSR1")
    expect(await codeOf(child)).toBe(0)
    expect(existsSync(join(bin, "stop"))).toBe(true)
  })

  test("prepares everything that the job reads", async () => {
    const asked = engine({ nproc_per_node: 1 })
    const path = await writeSbatch(config({ engine: asked, output_dir: join(folder, "slurm") }))
    expect(path).toBe(join(folder, "slurm", "run.sbatch"))
  })
})

describe("the Python", () => {
  test("one that is not there is an error that says what to do", () => {
    expect(() => checkPython(join(folder, "no-python"))).toThrow(
      /does not run[\s\S]*dftune torch setup/,
    )
  })
  test("one that lacks packages is an error that names them", () => {
    const path = join(folder, "old-python")
    const versions = {
      python: "3.9.1",
      torch: "2.4.0+cpu",
      transformers: "5.1.0",
      safetensors: "0.5.0",
    }
    const answer = JSON.stringify({ versions, gpus: 0 })
    writeFileSync(path, `#!/bin/sh\necho '${answer}'\n`, { mode: 0o755 })
    expect(() => checkPython(path)).toThrow(
      /python is 3.9.1, expected 3.10 or later; torch is 2.4.0\+cpu, expected 2.6 or later; peft 0.15 or later is absent/,
    )
  })
  test.each([
    ["2.13.0+cpu", "2.6", false],
    ["2.5.1", "2.6", true],
    ["3.9", "3.10", true],
    ["4.0", "3.10", false],
  ])("%s is older than %s: %s", (version, least, older) =>
    expect(isOlder(version, least)).toBe(older),
  )
})

test("events are followed line by line, half a line waits for its end", async () => {
  const path = join(folder, "followed.jsonl")
  const line = (step: number) => JSON.stringify({ type: "checkpoint", time: "", step, path: "é" })
  writeFileSync(path, `${line(1)}\n${line(2).slice(0, 20)}`)
  let ended = false
  const seen: number[] = []
  for await (const event of followEvents(path, { ended: () => ended })) {
    seen.push(event.step)
    if (event.step === 1) appendFileSync(path, `${line(2).slice(20)}\n`)
    if (event.step === 2) ended = true
  }
  expect(seen).toEqual([1, 2])
})

test("a worker that ends without a word is an error with what it wrote", async () => {
  const launch = {
    command: "sh",
    args: ["-c", "echo killed by the kernel >&2; exit 9"],
    env: {},
    processes: 1,
  }
  const run = workerRun({ launch, specPath: join(folder, "run-spec.json"), outputDir: folder })
  await expect(run.next()).rejects.toThrow(/ended with code 9[\s\S]*killed by the kernel/)
})

test("a worker that the kernel kills is an error that says what lowers memory", async () => {
  const launch = { command: "sh", args: ["-c", "kill -9 $$"], env: {}, processes: 1 }
  const run = workerRun({ launch, specPath: join(folder, "run-spec.json"), outputDir: folder })
  await expect(run.next()).rejects.toThrow(
    /ended with SIGKILL[\s\S]*micro_batch_tokens[\s\S]*--resume/,
  )
})

test("a rank that lost another is not the one to blame", async () => {
  const alone = mkdtempSync(join(folder, "peers-"))
  const told = (rank: number, kind: string, message: string, time: number) =>
    writeFileSync(
      join(alone, `rank-${rank}.error.json`),
      JSON.stringify({ rank, kind, message, time }),
    )
  const launch = {
    command: "sh",
    args: ["-c", "exit 1", "dftune_worker.agent"],
    env: {},
    processes: 2,
  }
  const failed = () =>
    workerRun({ launch, specPath: join(alone, "run-spec.json"), outputDir: alone }).next()
  told(0, "peer", "Connection closed by peer", 1)
  await expect(failed()).rejects.toThrow(/^a process of this run is gone \(rank 0: Connection/)
  told(1, "memory", "out of memory: 8 GB", 2)
  await expect(failed()).rejects.toThrow(/^rank 1: out of memory: 8 GB$/)
})

describe.skipIf(!PYTHON)(`a run, ${WITH_PYTHON}`, () => {
  const torch = (more = {}) =>
    ({ name: "torch", dtype: "fp32", python: PYTHON!, nproc_per_node: 1, ...more }) as const
  test("what the worker refuses reaches the user as it is", { timeout: 120_000 }, async () => {
    const asked = config({ engine: torch(), output_dir: join(folder, "refused") })
    writeFileSync(join(asked.model, "model.safetensors"), "not a model")
    const run = trainWithTorch(asked)
    const events: string[] = []
    const read = async () => {
      for await (const event of run) events.push(event.type)
    }
    await expect(read()).rejects.toThrow(/model.safetensors: cannot be read as safetensors/)
    await expect(run.result).rejects.toThrow()
    expect(events).toEqual(["run.end"])
  })
  test("stops after a checkpoint when asked, and goes on from it", {
    timeout: 240_000,
  }, async () => {
    const asked = config({
      engine: torch({ nproc_per_node: 2 }),
      output_dir: join(folder, "stopped"),
      max_steps: 400,
    })
    const controller = new AbortController()
    const run = trainWithTorch(asked, { signal: controller.signal })
    let last = 0
    for await (const event of run) {
      if (event.type === "step") controller.abort()
      last = event.step
    }
    expect(await run.result).toMatchObject({ reason: "interrupted", model: null })
    const again = trainWithTorch(
      { ...asked, resume: true, engine: { ...asked.engine, nproc_per_node: 1 } as never },
      {},
    )
    for await (const event of again) {
      if (event.type === "step") {
        expect(event.step).toBe(last + 1)
        break
      }
    }
  })
})
