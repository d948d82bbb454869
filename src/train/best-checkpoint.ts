/** The best evaluation's checkpoint of a run that is taken up in another folder: it comes along. */
import { existsSync } from "node:fs"
import { copyFile, link, mkdir, readdir, rename, rm, stat } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { flushFolder } from "../formats/index.ts"
import { checkpointName } from "../run/run-files.ts"
import { checkpointPath } from "../run/run-place.ts"
import { bestStepOf, checkpointStep, isCheckpoint } from "./checkpoint.ts"

/**
 * The best evaluation's checkpoint beside the one that the run goes on from, where its own folder
 * has it not.
 *
 * @throws InputError where it is gone: the run could not end with the best step's model
 */
export function bestBeside(config: Config, resumed: string | undefined): string | undefined {
  if (!config.load_best_model_at_end || resumed === undefined) return undefined
  const step = bestStepOf(resumed)
  if (step === undefined || existsSync(checkpointPath(config.output_dir, step))) return undefined
  const beside =
    step === checkpointStep(resumed) ? resumed : join(dirname(resumed), checkpointName(step))
  if (isCheckpoint(beside)) return beside
  throw new InputError(
    `load_best_model_at_end: the best evaluation so far was at step ${step}, and its checkpoint ${beside} is gone; put it back, or set load_best_model_at_end: false`,
  )
}

/**
 * Puts that checkpoint among the run's own, whole or not at all; its files are shared where the
 * disk can.
 */
export async function bringBest(config: Config, beside: string | undefined): Promise<void> {
  if (beside === undefined) return
  const own = checkpointPath(config.output_dir, checkpointStep(beside))
  const temporary = join(dirname(own), `.${basename(own)}.tmp`)
  await rm(temporary, { recursive: true, force: true })
  await shareFiles(beside, temporary)
  await rename(temporary, own)
  await flushFolder(dirname(own))
}

/** Files of a checkpoint never change, so that two names of one file are as good as two files. */
async function shareFiles(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true })
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [there, here] = [join(from, entry.name), join(to, entry.name)]
    if (entry.isDirectory()) await shareFiles(there, here)
    else if (entry.isFile()) await link(there, here).catch(() => copyFile(there, here))
    else if ((await stat(there)).isFile()) await copyFile(there, here) // a link; a pipe has no end
  }
  await flushFolder(to)
}
