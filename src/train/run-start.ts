import { join } from "node:path"
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { RUN_FILES } from "../run/run-files.ts"
import { runPlace } from "../run/run-place.ts"
import { type CheckpointState, checkpointFolders } from "./checkpoint.ts"
import { differencesThen, microBatchTokensThen } from "./identity-0.1.0.ts"
import type { RunPlan } from "./plan.ts"
import { differences, type Identity } from "./run-identity.ts"

/**
 * The checkpoint to go on from; undefined for a run from its beginning. That is also what
 * `resume: true` gets where a run was ended before its first checkpoint, or has not begun: a job
 * that is always started with --resume begins once and goes on ever after.
 *
 * @throws InputError when the run is over and has no checkpoint
 */
export async function checkpointToResume({
  resume,
  output_dir,
}: Config): Promise<string | undefined> {
  if (resume === false) return undefined
  if (typeof resume === "string") return resume
  const [newest] = await checkpointFolders(join(output_dir, RUN_FILES.checkpoints))
  if (newest !== undefined) return newest
  if (runPlace(output_dir) !== "run") return undefined
  throw new InputError(
    `${output_dir}: this run is over and kept no checkpoint to go on from; start over with --overwrite, or give another output_dir`,
  )
}

/** Said where `--resume` found nothing to go on from. */
export const FROM_THE_BEGINNING = {
  code: "resumed-from-the-beginning",
  message: "there is no checkpoint to resume from, so the run starts from its beginning",
  hint: "save_steps says how often a checkpoint is written",
} as const

/** The config with what `auto` was when the checkpoint was written. */
export function withChoicesOf(config: Config, state: CheckpointState): Config {
  return withPrecisionOf(withMicroBatchOf(config, state), state)
}

/** How the run of a checkpoint computed what belongs together; before this was said, apart. */
export const wasTogether = ({ run }: CheckpointState): boolean =>
  "identity" in run && run.identity.together === true

function withPrecisionOf(config: Config, { run }: CheckpointState): Config {
  const { engine } = config
  if (engine.name !== "onnx" || engine.dtype !== "auto") return config
  const dtype = ("identity" in run ? run.identity.dtype : undefined) ?? "fp32"
  return { ...config, engine: { ...engine, dtype } }
}

function withMicroBatchOf(config: Config, { run }: CheckpointState): Config {
  if (config.micro_batch_tokens !== "auto") return config
  const then =
    "identity" in run
      ? run.identity.micro_batch_tokens
      : microBatchTokensThen(run.fingerprint, config)
  return then === undefined ? config : { ...config, micro_batch_tokens: then }
}

/**
 * Refuses to go on with another run's checkpoint.
 *
 * @throws InputError naming each setting that differs, with both values
 */
export function checkSameRun(
  { path, run, progress }: CheckpointState,
  here: Identity,
  plan: RunPlan,
): void {
  const found =
    "identity" in run
      ? differences(run.identity, here)
      : differencesThen(path, run.fingerprint, here, plan)
  if (found.length > 0) {
    throw new InputError(
      `${path}: is of another run: ${found.join("; ")}. A resumed run must continue the same run: restore this, or start anew in another output_dir`,
    )
  }
  if (progress.step > plan.order.steps) {
    throw new InputError(`${path}: is at step ${progress.step} of a run of ${plan.order.steps}`)
  }
}
