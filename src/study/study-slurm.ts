/** A study as jobs of Slurm: an array for the runs to choose by, one for the others, a report. */
import { join } from "node:path"
import { logFolder, sbatchLines } from "../engines/torch/slurm.ts"
import { makeFolder, writeFileAtomic } from "../formats/atomic.ts"
import { ownPlace } from "../host/own-place.ts"
import { shellWord } from "../host/shell-word.ts"
import type { Cell } from "./design.ts"
import type { Study } from "./load-study.ts"

/** Seconds before the time limit at which a run is asked to write a checkpoint and stop. */
const WARNING_SECONDS = 300

/**
 * Writes `slurm/submit.sh` and the job files that it submits. A run's job is `study --cells ID`;
 * what a time limit stops goes on when submit.sh is run again.
 *
 * @param command how this program is called, word by word
 * @returns the path of submit.sh
 * @throws InputError for an option of `slurm.sbatch` that is none
 */
export async function writeStudyJobs(study: Study, command: readonly string[]): Promise<string> {
  const folder = ownPlace(study.folder, "slurm")
  makeFolder(folder)
  const call = [...command, "study", study.path].map(shellWord).join(" ")
  const first = study.design.cells.filter(({ stage }) => stage === "choose")
  const others = study.design.cells.filter(({ stage }) => stage !== "choose")
  const file = async (name: string, own: Record<string, string>, lines: readonly string[]) => {
    const path = join(folder, `${name}.sbatch`)
    const shared = {
      "job-name": `dftune-${name}`,
      output: join(logFolder(folder), `${name}-%${own.signal === undefined ? "j" : "A-%a"}.log`),
      "open-mode": "append",
    }
    const options = sbatchLines({ ...shared, ...own, ...study.fields.slurm.sbatch }, "slurm.sbatch")
    const text = [
      "#!/bin/bash",
      options,
      "set -euo pipefail",
      `cd ${shellWord(process.cwd())}`,
      ...lines,
    ]
    await writeFileAtomic(path, `${text.join("\n")}\n`)
    return path
  }
  const array = (name: string, cells: readonly Cell[]) =>
    file(name, { signal: `B:TERM@${WARNING_SECONDS}` }, [
      `cells=(${cells.map(({ id }) => shellWord(id)).join(" ")})`,
      `exec ${call} --cells "\${cells[$SLURM_ARRAY_TASK_ID]}"`,
    ])
  const { at_once: most } = study.fields.slurm
  const tasks = (cells: readonly Cell[]) =>
    `--array=0-${cells.length - 1}${most === undefined ? "" : `%${most}`}`
  const steps = [
    "#!/bin/bash",
    "# Submits the study's jobs. Run it again to go on.",
    "set -euo pipefail",
  ]
  let after = ""
  if (first.length > 0) {
    const path = await array("choose", first)
    steps.push(`choose=$(sbatch --parsable ${tasks(first)} ${shellWord(path)})`)
    after = `--dependency="afterany:\${choose%%;*}" `
  }
  const path = await array("runs", others)
  steps.push(`runs=$(sbatch --parsable ${after}${tasks(others)} ${shellWord(path)})`)
  const report = await file("report", {}, [`exec ${call} --report`])
  steps.push(`sbatch --dependency="afterany:\${runs%%;*}" ${shellWord(report)}`)
  const submit = join(folder, "submit.sh")
  await writeFileAtomic(submit, `${steps.join("\n")}\n`)
  return submit
}
