/** Whether a run's Slurm job still exists: one that is killed outright tells nobody. */
import { spawnSync } from "node:child_process"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { runSpecPath } from "./run-spec.ts"

const LAST_WORDS = 2000

/**
 * The job that ran what is prepared in `outputDir` and has left the queue, in words with the end
 * of its log; undefined while it is queued or running, or where nobody can say: no log yet (the
 * job waits for its nodes), no `squeue` here, a controller that does not answer.
 */
export function jobThatLeft(outputDir: string): string | undefined {
  const newest = newestLog(outputDir)
  if (newest === undefined) return undefined
  const { id, path } = newest
  const asked = spawnSync("squeue", ["--noheader", "--jobs", id, "--format", "%T"], {
    encoding: "utf8",
  })
  if (asked.error !== undefined) return undefined
  const unknown = asked.status !== 0 && asked.stderr.includes("Invalid job id")
  const left = asked.status === 0 && asked.stdout.trim() === ""
  if (!unknown && !left) return undefined
  const said = readFileSync(path, "utf8").trim().slice(-LAST_WORDS)
  return `Slurm's job ${id} is gone and its run did not end: killed, or a node was lost (sacct -j ${id} says more); what was saved before is kept, dftune launch slurm CONFIG --resume goes on from it. The end of ${path}:\n${said || "(empty)"}`
}

/** Of the jobs submitted since the run was prepared, by its log's name `slurm-<job>.log`. */
function newestLog(outputDir: string): { id: string; path: string } | undefined {
  const prepared = statSync(runSpecPath(outputDir)).mtimeMs
  return readdirSync(outputDir)
    .flatMap((name) => {
      const id = /^slurm-(\d+)\.log$/.exec(name)?.[1]
      if (id === undefined) return []
      const path = join(outputDir, name)
      return [{ id, path, written: statSync(path).mtimeMs }]
    })
    .filter(({ written }) => written >= prepared)
    .sort((a, b) => b.written - a.written)[0]
}
