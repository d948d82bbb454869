/** A run that something else started (a Slurm job, another machine): followed by its folder. */
import { existsSync, readFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import type { Config } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import { replaceFileNow } from "../../formats/atomic.ts"
import { begun } from "../../host/begun.ts"
import type { RunEvent } from "../../run/events.ts"
import { STOP_FILE } from "../../run/run-files.ts"
import { RUN_FILES } from "../../run/run-folder.ts"
import type { PlanOptions, RunResult } from "../../train/index.ts"
import type { Run } from "../engine.ts"
import {
  followEvents,
  jobThatLeft,
  plainError,
  rankFailure,
  runSpecPath,
  STOP_EVERY_MS,
} from "./index.ts"
import { runResult } from "./torch-run.ts"

/** How often Slurm is asked for the job; its controller serves everybody. */
const ASK_EVERY_MS = 30_000

/**
 * The events of the run that `dftune launch slurm` prepared in `output_dir`, from its first to its
 * `run.end`. Aborting asks that run for a checkpoint and its end, as it would a local one.
 */
export function followTorchRun(
  config: Config,
  options: PlanOptions = {},
  askEveryMs = ASK_EVERY_MS,
): Run {
  return begun(() => follow(config, options, askEveryMs))
}

async function* follow(
  { output_dir }: Config,
  { signal, onProgress }: PlanOptions,
  askEveryMs: number,
): AsyncGenerator<RunEvent, RunResult> {
  const spec = runSpecPath(output_dir)
  if (!existsSync(spec)) {
    throw new InputError(
      `${output_dir}: engine.launcher is slurm and nothing is prepared here; dftune launch slurm CONFIG writes ${join(output_dir, "run.sbatch")}, submit it with sbatch, then this follows it`,
    )
  }
  const { run_id: id } = JSON.parse(readFileSync(spec, "utf8")) as { run_id: string }
  const stopping = setInterval(() => {
    if (signal?.aborted) replaceFileNow(join(resolve(output_dir), STOP_FILE), "")
  }, STOP_EVERY_MS)
  let missed: string | undefined
  let gone: string | undefined
  const asking = setInterval(() => {
    const left = jobThatLeft(output_dir)
    gone = missed === undefined ? undefined : left // asked twice: last lines may be on their way
    missed = left
  }, askEveryMs)
  let started = false // events of an earlier job that this one resumes come first
  let end: Extract<RunEvent, { type: "run.end" }> | undefined
  onProgress?.("waiting for the job to start")
  try {
    const path = join(output_dir, RUN_FILES.events)
    // a rank that fails says so beside the spec: with no dftune around the job, nobody writes
    // run.end
    const ended = () =>
      end !== undefined || gone !== undefined || rankFailure(dirname(spec), true) !== undefined
    for await (const event of followEvents(path, { ended })) {
      started ||= event.type === "run.start" && event.run_id === id
      if (started && event.type === "run.end") end = event
      yield event
    }
  } finally {
    clearInterval(stopping)
    clearInterval(asking)
  }
  if (end !== undefined && end.reason !== "failed") return runResult(end, output_dir)
  throw rankFailure(dirname(spec), true) ?? plainError(gone ?? `the run failed: ${end?.message}`)
}
