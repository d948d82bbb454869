/**
 * Short runs in a folder that is thrown away: interrupted with whole, one engine with the other.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Config } from "../config/index.ts"
import { train } from "../engines/index.ts"
import { choosePython, describePython } from "../engines/torch/environment.ts"
import { InputError } from "../errors.ts"
import type { StepEvent } from "../run/events.ts"
import { RUN_FILES } from "../run/run-files.ts"
import { type Comparison, failed, judged, notMade, type Row } from "./comparison.ts"
import type { Subject } from "./subject.ts"

const RESUME: Row = {
  name: "resume",
  compared: "the loss of a step after an interruption with the uninterrupted run's",
  usual: 0,
}
const WORKER: Row = {
  name: "engines",
  compared: "the loss of a step of engine: torch with this engine's, both in float32",
  usual: 1e-3,
}
const ROWS_A_STEP = 4
const SAMPLED_TOKENS = 32

/** In a folder of the system's, removed at the end. */
export async function runComparisons(subject: Subject): Promise<Comparison[]> {
  const folder = await mkdtemp(join(tmpdir(), "dftune-check-"))
  try {
    return [await resumed(subject, folder), await worker(subject, folder)]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** A run of a few rows that asks nothing, evaluates nothing and writes into `output`. */
function shortRun({ plan }: Subject, output: string, steps: number): Config {
  const { config } = plan
  return {
    ...config,
    ...(config.rollout ? { rollout: shortRollout(config.rollout) } : {}),
    data: { ...config.data, eval: [] },
    batch_size: config.rollout ? ROWS_A_STEP : Math.min(ROWS_A_STEP, config.batch_size),
    max_steps: steps,
    num_train_epochs: null,
    save_steps: 1,
    save_total_limit: null,
    eval_steps: 0,
    generate_samples: null,
    report_to: [],
    resume: false,
    output_dir: output,
  }
}

/**
 * Two samples of each prompt and a reward without a module, which nearly always tells them apart.
 */
function shortRollout(rollout: NonNullable<Config["rollout"]>): NonNullable<Config["rollout"]> {
  return {
    ...rollout,
    num_generations: 2,
    prompts: null,
    max_new_tokens: Math.min(SAMPLED_TOKENS, rollout.max_new_tokens),
    rewards: [{ name: "repetition", weight: 1, n: 1 }],
    filter_groups: "drop",
    mask_truncated_completions: false,
    keep: "none",
  }
}

/** The losses of a run's steps, by step. */
async function losses(config: Config, signal?: AbortSignal): Promise<Map<number, number>> {
  const found = new Map<number, number>()
  for await (const event of train(config, signal ? { signal } : {})) {
    if (event.type === "step") found.set(event.step, (event as StepEvent).loss)
  }
  return found
}

async function resumed(subject: Subject, folder: string): Promise<Comparison> {
  try {
    return await resumedRun(subject, folder)
  } catch (error) {
    // Prompts whose answers are all alike teach nothing, and such a run ends.
    if (!(error instanceof InputError) || !subject.plan.rollout) throw error
    return notMade(RESUME, error.message)
  }
}

async function resumedRun(subject: Subject, folder: string): Promise<Comparison> {
  const [whole, parted] = [join(folder, "whole"), join(folder, "parted")]
  const straight = await losses(shortRun(subject, whole, 2), subject.signal)
  const checkpoint = join(whole, RUN_FILES.checkpoints, "step-000001")
  const config = { ...shortRun(subject, parted, 2), resume: checkpoint }
  const again = await losses(config, subject.signal)
  const [a, b] = [again.get(2), straight.get(2)]
  if (a === undefined || b === undefined) return notMade(RESUME, "the rows make no two steps")
  return judged(RESUME, { difference: Math.abs(a - b), detail: `${a} and ${b}` })
}

async function worker(subject: Subject, folder: string): Promise<Comparison> {
  try {
    return await enginesCompared(subject, folder)
  } catch (error) {
    if (subject.signal?.aborted) throw error
    return error instanceof InputError ? notMade(WORKER, error.message) : failed(WORKER, error)
  }
}

async function enginesCompared(subject: Subject, folder: string): Promise<Comparison> {
  const { config } = subject.plan
  if (config.rollout) return notMade(WORKER, "engine: torch does not sample while it trains")
  if (config.quantization !== "none") return notMade(WORKER, "engine: torch does not quantise")
  const python = choosePython("python3")
  const lacks = describePython(python)?.lacks ?? [`${python} does not run`]
  if (lacks.length > 0) return notMade(WORKER, `no Python with PyTorch: ${lacks[0]}`)
  const here: Config = {
    ...shortRun(subject, join(folder, "onnx"), 1),
    engine: { ...subject.plan.engine, dtype: "fp32" },
  }
  const there: Config = {
    ...shortRun(subject, join(folder, "torch"), 1),
    micro_batch_tokens: subject.plan.split.capacity,
    engine: {
      name: "torch",
      nproc_per_node: 1,
      nnodes: 1,
      context_parallel: 1,
      dtype: "fp32",
      launcher: "torchrun",
      python,
      sbatch: {},
    },
  }
  const a = (await losses(there, subject.signal)).get(1)
  const b = (await losses(here, subject.signal)).get(1)
  if (a === undefined || b === undefined) return notMade(WORKER, "a run made no step")
  return judged(WORKER, { difference: Math.abs(a - b) / Math.abs(b), detail: `${a} and ${b}` })
}
