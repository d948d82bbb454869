/** `rollouts.jsonl`: every sample with its rewards, a row each as `dftune generate` writes them. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { DataPrompt } from "../../data/prompts.ts"
import { replaceFileNow } from "../../formats/atomic.ts"
import { isObject } from "../../formats/json.ts"
import { openLineFile } from "../../formats/line-file.ts"
import { RUN_FILES } from "../../run/run-files.ts"
import type { RolloutSample } from "./rollout.ts"

/** A rollout as the file has it: those that are left out have no advantage. */
export interface ToldRollout {
  readonly number: number
  /** Optimizer steps done when it was made. */
  readonly policyStep: number
  readonly samples: readonly (RolloutSample & { readonly advantage: number | null })[]
}

export interface RolloutFileOptions {
  /** The run folder. */
  readonly folder: string
  readonly keep: "none" | "last" | "all"
  readonly prompts: readonly DataPrompt[]
  /** The rollout that comes next: what a stopped run wrote of it and of later ones is made again. */
  readonly next: number
}

/** What writes a rollout down. */
export function rolloutFile({ folder, keep, prompts, next }: RolloutFileOptions) {
  const path = join(folder, RUN_FILES.rollouts)
  if (keep === "all" && existsSync(path)) keepBefore(path, next)
  const lines = ({ number, policyStep, samples }: ToldRollout) =>
    samples.map((sample) => {
      const { finishReason, tokenIds, samplingLogp, group, sampleIndex, attempt } = sample
      const { completion, reward, rewards, advantage } = sample
      return JSON.stringify({
        ...prompts[sample.prompt]!.row,
        completion,
        token_ids: tokenIds,
        logprobs: [...samplingLogp],
        finish_reason: finishReason,
        ...{ rollout: number, group, sample: sampleIndex, attempt, policy_step: policyStep },
        ...{ reward, rewards, advantage },
        ...(sample.context ? { context: sample.context } : {}),
        ...(sample.prefix ? { prefix: sample.prefix } : {}),
        ...(sample.explored ? { explored: sample.explored } : {}),
      })
    })
  return (rollout: ToldRollout): void => {
    if (keep === "none") return
    if (keep === "last") {
      replaceFileNow(path, `${lines(rollout).join("\n")}\n`)
      return
    }
    const file = openLineFile(path)
    for (const line of lines(rollout)) file.append(line)
    file.flush()
    file.close()
  }
}

function keepBefore(path: string, next: number): void {
  const kept = readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "" && rolloutOf(line) < next)
  replaceFileNow(path, kept.map((line) => `${line}\n`).join(""))
}

function rolloutOf(line: string): number {
  try {
    const row: unknown = JSON.parse(line)
    return isObject(row) && typeof row.rollout === "number" ? row.rollout : Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY // half written by a run that was killed
  }
}
