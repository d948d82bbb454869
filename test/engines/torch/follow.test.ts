import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../../src/config/index.ts"
import { jobThatLeft, runSpecPath } from "../../../src/engines/torch/index.ts"
import { followTorchRun } from "../../../src/engines/torch/torch-follow.ts"
import { wholeEvent } from "../../run/whole-events.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-follow-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A run folder as `dftune launch slurm` leaves it, and what the job would append to its events. */
function prepared(name: string) {
  const output_dir = join(folder, name)
  const config = parseConfig({
    model: "m",
    data: { train: [{ path: "x.jsonl" }] },
    engine: { name: "torch", launcher: "slurm" },
    output_dir,
  })
  mkdirSync(dirname(runSpecPath(output_dir)), { recursive: true })
  writeFileSync(runSpecPath(output_dir), JSON.stringify({ run_id: "this" }))
  const tell = (event: { type: string; [field: string]: unknown }) =>
    appendFileSync(join(output_dir, "events.jsonl"), `${JSON.stringify(wholeEvent(event))}\n`)
  return { config, tell, stop: join(output_dir, "stop") }
}

test("a job's run is followed over what came before it, to its own end", async () => {
  const { config, tell } = prepared("resumed")
  tell({ type: "run.start", run_id: "earlier" })
  tell({ type: "run.end", reason: "interrupted", step: 3 })
  const run = followTorchRun(config)
  const seen: string[] = []
  for await (const event of run) {
    seen.push(event.type)
    if (seen.length === 2) {
      tell({ type: "run.start", run_id: "this" })
      tell({ type: "run.end", reason: "done", step: 5 })
    }
  }
  expect(seen).toEqual(["run.start", "run.end", "run.start", "run.end"])
  expect(await run.result).toMatchObject({ reason: "done", steps: 5 })
})

test("stopping asks the job for a checkpoint and waits for its end", async () => {
  const { config, tell, stop } = prepared("stopped")
  tell({ type: "run.start", run_id: "this" })
  const controller = new AbortController()
  const run = followTorchRun(config, { signal: controller.signal })
  for await (const event of run) {
    if (event.type !== "run.start") continue
    controller.abort()
    while (!existsSync(stop)) await new Promise((resolve) => setTimeout(resolve, 20))
    tell({ type: "run.end", reason: "interrupted", step: 2 })
  }
  expect(await run.result).toMatchObject({ reason: "interrupted", model: null })
})

test("a job that failed is an error, and so is a folder where nothing is prepared", async () => {
  const { config, tell } = prepared("failed")
  tell({ type: "run.start", run_id: "this" })
  tell({ type: "run.end", reason: "failed", message: "rank 3: out of memory" })
  const read = async (asked: typeof config) => {
    for await (const _ of followTorchRun(asked));
  }
  await expect(read(config)).rejects.toThrow(/rank 3: out of memory/)
  const silent = prepared("silent") // a job with no dftune around it leaves the rank's own file
  silent.tell({ type: "run.start", run_id: "this" })
  const record = { rank: 1, kind: "bug", message: "it broke", time: 1 }
  const beside = dirname(runSpecPath(silent.config.output_dir))
  writeFileSync(join(beside, "rank-1.error.json"), JSON.stringify(record))
  await expect(read(silent.config)).rejects.toThrow(/rank 1: it broke/)
  const nowhere = { ...config, output_dir: join(folder, "nowhere") }
  await expect(read(nowhere)).rejects.toThrow(/dftune launch slurm CONFIG/)
})

test("a job that Slurm no longer knows has failed; one that waits, or that nobody can ask about, has not", async () => {
  const { config, tell } = prepared("lost")
  const bin = join(folder, "bin")
  mkdirSync(bin)
  const squeue = (script: string) =>
    writeFileSync(join(bin, "squeue"), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  const path = process.env.PATH
  const { output_dir } = config
  expect(jobThatLeft(output_dir)).toBeUndefined() // no log: it has not started
  writeFileSync(join(output_dir, "slurm-41.log"), "of an earlier job")
  utimesSync(join(output_dir, "slurm-41.log"), 1, 1)
  writeFileSync(join(output_dir, "slurm-42.log"), "step 7 of 9\nslurmstepd: error: node failure")
  try {
    process.env.PATH = bin // no squeue there
    expect(jobThatLeft(output_dir)).toBeUndefined()
    squeue('[ "$3" = 42 ] && echo RUNNING')
    expect(jobThatLeft(output_dir)).toBeUndefined()
    squeue("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    expect(jobThatLeft(output_dir)).toBeUndefined()
    squeue("exit 0")
    expect(jobThatLeft(output_dir)).toContain("job 42")
    squeue("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    tell({ type: "run.start", run_id: "this" })
    const read = async () => {
      for await (const _ of followTorchRun(config, {}, 20));
    }
    await expect(read()).rejects.toThrow(/job 42 is gone[\s\S]*--resume[\s\S]*node failure/)
  } finally {
    process.env.PATH = path
  }
})
