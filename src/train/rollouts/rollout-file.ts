/** `rollouts.jsonl`: every sample with its rewards, a row each as `dftune generate` writes them. */
import { closeSync, existsSync, readSync } from "node:fs"
import { join } from "node:path"
import type { DataPrompt } from "../../data/prompts.ts"
import { replaceFileNow } from "../../formats/atomic.ts"
import { isObject } from "../../formats/json.ts"
import { openLineFile } from "../../formats/line-file.ts"
import { openPlainFile } from "../../formats/plain-file.ts"
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
  /**
   * The rollout that comes next: what a stopped run wrote of it and of later ones is made again.
   */
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

/**
 * Cuts off what a stopped run wrote of rollouts that are made again. The file is never held whole:
 * that of a long run is longer than a text can be.
 */
function keepBefore(path: string, next: number): void {
  openLineFile(path, bytesBefore(path, next)).close()
}

const PIECE_BYTES = 1 << 20

/** Up to the end of the last line of an earlier rollout. */
function bytesBefore(path: string, next: number): number {
  const file = openPlainFile(path)
  const piece = Buffer.alloc(PIECE_BYTES)
  let [kept, read] = [0, 0]
  let line: Buffer[] = []
  try {
    for (let length = readSync(file, piece); length > 0; length = readSync(file, piece)) {
      let at = 0
      for (let end = piece.indexOf(NEWLINE); end >= 0 && end < length; ) {
        line.push(piece.subarray(at, end))
        at = end + 1
        if (rolloutOf(Buffer.concat(line)) < next) kept = read + at
        line = []
        end = piece.indexOf(NEWLINE, at)
      }
      line.push(Buffer.from(piece.subarray(at, length)))
      read += length
    }
  } finally {
    closeSync(file)
  }
  return kept
}

const NEWLINE = 0x0a

function rolloutOf(line: Buffer): number {
  try {
    const row: unknown = JSON.parse(line.toString("utf8"))
    return isObject(row) && typeof row.rollout === "number" ? row.rollout : Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY // half written by a run that was killed
  }
}
