/**
 * What is wrong with a rollout: a warning, an early end, or a refusal to go on (METHOD:
 * docs/rl.md).
 */

import type { DataPrompt } from "../../data/prompts.ts"
import { InputError } from "../../errors.ts"
import type { WarningEvent } from "../../run/events.ts"
import type { RolloutRow, RolloutSample } from "./rollout.ts"
import { differences, zeroVarianceShare } from "./rollout-event.ts"
import type { RolloutProgress } from "./rollout-state.ts"

type Warning = Pick<WarningEvent, "code" | "message" | "hint">

/** Rollouts in a row without an update after which a run ends. */
const EQUAL_ROLLOUTS = 5
/** Rollouts in a row without an end after which a run in which nothing ever ended stops. */
const UNENDED_ROLLOUTS = 3
/** Share of equal groups that is worth a warning. */
const MANY_EQUAL = 0.8
/** A server's gap that is worth a warning: so wide, and so many times its first. */
const WIDE_GAP = 0.01
const GROWN = 3
/** |ln p| apart, on average, that is no rounding but another model. */
const WRONG_MODEL = 0.2

export interface Watched {
  readonly sampled: readonly RolloutSample[]
  readonly rows: readonly RolloutRow[]
  readonly prompts: readonly DataPrompt[]
  readonly maxNewTokens: number
  /** What ends a sample, for people: tokens and texts. */
  readonly stops: readonly string[]
  /** A token's text. */
  readonly tokenText: (id: number) => string
  /** Whether the run has made an update. */
  readonly updated: boolean
  /** Whether the objective learns from rewards, and so not where all are equal. */
  readonly learnsFromRewards: boolean
  /** A server samples, which may be left with older weights. */
  readonly isRemote: boolean
}

export interface Outcome {
  readonly progress: RolloutProgress
  readonly warnings: readonly Warning[]
  /** The run is over: it has learnt what these prompts teach. */
  readonly over: boolean
  /** The run cannot go on. */
  readonly failure: InputError | undefined
}

/**
 * `progress` is as the rollout left it; what follows from it beside the counts is filled in here.
 */
export function outcomeOf(progress: RolloutProgress, watched: Watched): Outcome {
  const { sampled, rows, updated } = watched
  const taught = teaches(rows, watched)
  const ended = sampled.some(({ finishReason }) => finishReason !== "length")
  const equal = taught ? 0 : progress.equal + 1
  const unended = ended ? 0 : progress.unended + 1
  const everEnded = progress.everEnded || ended
  const warnings: Warning[] = []
  if (unended > 0) warnings.push(noEnd(watched))
  const gap = watched.isRemote ? differences(rows)?.mean : undefined
  const firstGap = progress.firstGap ?? gap
  if (gap !== undefined && gap > Math.max(WIDE_GAP, GROWN * firstGap!)) {
    warnings.push(widerGap(gap, firstGap!))
  }
  const over = equal >= EQUAL_ROLLOUTS && updated
  const comparesGroups = watched.learnsFromRewards && !rows.some(({ advantages }) => advantages)
  const isAlike = comparesGroups && zeroVarianceShare(sampled) > MANY_EQUAL
  if (over || isAlike) warnings.push(zeroVariance(watched, equal))
  // Whoever learns from each token learns from answers that were cut as well.
  const stuck = watched.learnsFromRewards && unended >= UNENDED_ROLLOUTS && !everEnded
  const failure = stuck
    ? new InputError(
        `no-eos: ${noEnd(watched).message}, ${unended} rollouts in a row since the start`,
      )
    : equal >= EQUAL_ROLLOUTS && !updated
      ? new InputError(nothingLearnt(watched, equal))
      : undefined
  const told = warnings.filter(
    ({ code }) => (over && code === "zero-variance") || !progress.told.includes(code),
  )
  const next: RolloutProgress = {
    ...progress,
    equal,
    unended,
    everEnded,
    ...(firstGap === undefined ? {} : { firstGap }),
    told: [...new Set([...progress.told, ...told.map(({ code }) => code)])],
  }
  return { progress: next, warnings: told, over, failure }
}

/** Whether an update would move anything: with equal rewards none would, and moments still did. */
export const teaches = (
  rows: readonly RolloutRow[],
  { learnsFromRewards }: Pick<Watched, "learnsFromRewards">,
): boolean =>
  learnsFromRewards
    ? rows.some(({ advantage, advantages, expert }) => advantages || advantage !== 0 || expert)
    : rows.length > 0

function widerGap(gap: number, first: number): Warning {
  return {
    code: "sampler-gap",
    message: `the server's log-probabilities are ${gap.toPrecision(2)} nats from training's on average, ${first.toPrecision(2)} in the first rollout: it may be sampling from older weights`,
    hint: "look at rollout.source.sync, and at the server's log of what it loaded",
  }
}

function noEnd({ sampled, maxNewTokens, stops, tokenText }: Watched): Warning {
  const last = sampled
    .slice(0, 3)
    .map(({ tokenIds }) => JSON.stringify(tokenIds.slice(-8).map(tokenText).join("")))
  return {
    code: "no-eos",
    message: `none of ${sampled.length} samples ended within rollout.max_new_tokens ${maxNewTokens}; looked for ${stops.join(", ")}; the last tokens were ${last.join(", ")}`,
    hint: "raise rollout.max_new_tokens, or teach the model its end of turn first (sft); generation_config.json's eos_token_id and rollout.stop say what ends a sample",
  }
}

/** No reward could say anything of any sample. */
const noneIsScored = ({ sampled }: Watched) => sampled.every(({ reward }) => reward === null)

function nothingLearnt(watched: Watched, equal: number): string {
  if (noneIsScored(watched)) {
    return `unscored: ${equal} rollouts in a row taught nothing, and in this one no reward could judge any sample: ${examples(watched)}. Look at the rewards: each gave null (math does where an answer and the gold one cannot be compared)`
  }
  return `zero-variance: in each of the first ${equal} rollouts all samples of a prompt had the same reward, so nothing could be learnt: ${examples(watched)}. Lower temperature is not the cure: take easier or harder prompts, or look at the rewards`
}

function zeroVariance(watched: Watched, equal: number): Warning {
  const share = zeroVarianceShare(watched.sampled)
  const end =
    equal >= EQUAL_ROLLOUTS ? `; the run ends, ${equal} rollouts in a row taught nothing` : ""
  if (noneIsScored(watched)) {
    return {
      code: "zero-variance",
      message: `no reward could judge any of ${watched.sampled.length} samples, and such a rollout teaches nothing: ${examples(watched)}${end}`,
      hint: "look at the rewards: each gave null (math does where an answer and the gold one cannot be compared)",
    }
  }
  return {
    code: "zero-variance",
    message: `in ${(100 * share).toFixed(0)} % of the groups all samples have the same reward, and such a group teaches nothing: ${examples(watched)}${end}`,
    hint: "lower temperature is not the cure: take easier or harder prompts, more samples a prompt, or rollout.filter_groups: resample",
  }
}

/** Up to three prompts with an answer and its reward. */
function examples({ sampled, prompts }: Watched): string {
  const seen = new Set<number>()
  const shown: string[] = []
  for (const { prompt, completion, reward } of sampled) {
    if (seen.has(prompt) || shown.length === 3) continue
    seen.add(prompt)
    shown.push(
      `${prompts[prompt]!.where} answered ${JSON.stringify(completion.slice(0, 60))}, reward ${reward ?? "none"}`,
    )
  }
  return shown.join("; ")
}

/**
 * Of a run's first rollout: the sampler is the model that is trained.
 *
 * @throws InputError when it is not
 */
export function checkSampler(rows: readonly RolloutRow[]): void {
  const apart = differences(rows)
  if (apart === null || apart.mean <= WRONG_MODEL) return
  throw new InputError(
    `sampler-gap: the sampler's log-probabilities are ${apart.mean.toFixed(2)} nats from training's on average (at most ${apart.max.toFixed(2)}), which is no rounding: it has another model, adapter, template or temperature`,
  )
}
