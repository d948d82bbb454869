import type { Config, OnnxEngineConfig } from "../config/index.ts"
import { refuseScores } from "../config/scored-checks.ts"
import type { Prepared, PreparedRow } from "../data/prepared.ts"
import { InputError } from "../errors.ts"
import { randomStream } from "../random.ts"
import { progressMeter } from "../report/progress.ts"
import { abandonedTokensWarning, keepsSpecialTokens } from "./abandoned-tokens.ts"
import { type Clock, type Estimate, estimateRun, wallClock } from "./estimate.ts"
import { type LearningRateRange, learningRateRange } from "./learning-rate-range.ts"
import { type MicroBatch, stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY } from "./objective-head.ts"
import { closeRows, type PlanOptions, planRun, type RunPlan } from "./plan.ts"
import { probeRollouts, type RolloutProbe } from "./rollouts/probe-rollouts.ts"
import { openSession, type Session } from "./session.ts"
import {
  addStatistics,
  NO_TOKENS,
  statisticsFields,
  statisticsOf,
  TOKEN_CLASSES,
  type TokenStatistics,
} from "./token-statistics.ts"

/** Rows of each source that are looked at. */
const ROWS_PER_SOURCE = 128
/**
 * Above this mean probability DFT suits the data, below the other cross-entropy does
 * (docs/method.md, 3).
 */
const SUITS_DFT = 0.5
const SUITS_SFT = 0.1
/** A share of unlikely tokens past which DFT will leave something unlearned, whatever the mean. */
const MANY_UNLIKELY = 0.1

export type Advice = "dft" | "either" | "sft"

export interface SourceProbe {
  readonly source: string
  readonly rows: number
  readonly supervised_tokens: number
  readonly nll: number
  /** Mean probability that the model gives the targets. */
  readonly mean_p: number
  /** Share of targets with p < 0.1. */
  readonly unlikely: number
  /** By token class: how many, their mean probability, the share with p < 0.1. */
  readonly classes: Readonly<Record<string, { count: number; mean_p: number; unlikely: number }>>
  readonly advice: Advice
  readonly why: string
}

export interface ProbeResult {
  /** None of a run that samples its answers: `rollout` has what was found of it. */
  readonly sources: readonly SourceProbe[]
  /** A rollout of some prompts by the model as it is. */
  readonly rollout?: RolloutProbe
  /** Of the local engine; null where another engine will train. */
  readonly estimate: Estimate | null
  readonly warnings: readonly { code: string; message: string; hint: string }[]
  readonly lr_range?: LearningRateRange
}

export interface ProbeOptions extends PlanOptions {
  /** Also a learning-rate range test. */
  readonly lrRange?: boolean
  /** Rows of each source that are looked at. */
  readonly rows?: number
  /** Whether a step is timed; without, the result has no estimate. */
  readonly timed?: boolean
  /** What time is measured with. */
  readonly clock?: Clock
}

/** Probabilities of targets depend on the model alone, so they are measured on this machine. */
const MEASURED_HERE: OnnxEngineConfig = {
  name: "onnx",
  device: "auto",
  threads: "auto",
  dtype: "auto",
}
const NO_ESTIMATE = {
  code: "no-estimate",
  message: "time and memory of engine: torch are not estimated: its worker measures them",
  hint: "train --set max_steps=3 on the machine that will train shows tokens a second and memory",
} as const

/** Before training: does the data suit the objective, what will it cost, which learning rate. */
export async function probe(
  config: Config,
  {
    lrRange = false,
    timed = true,
    rows = ROWS_PER_SOURCE,
    clock = wallClock,
    ...options
  }: ProbeOptions = {},
): Promise<ProbeResult> {
  refuseScores(config, "probe")
  if (config.rollout && lrRange) {
    throw new InputError(
      `--lr-range: the loss of ${config.objective.name} does not say how well it learns, so rates are not compared by it; compare the rewards of short runs instead`,
    )
  }
  const here = config.engine.name === "onnx"
  const plan = await planRun(here ? config : { ...config, engine: MEASURED_HERE }, options)
  const began = clock()
  const session = await openSession(plan, options)
  const load = clock() - began
  try {
    if (plan.rollout) {
      const { signal, onProgress } = options
      const found = await probeRollouts(plan, session, { load, clock, timed, signal, onProgress })
      return { sources: [], warnings: [...plan.lints, ...rolloutWarnings(found.rollout)], ...found }
    }
    const { sources, all } = await probeSources(plan, session, rows, options)
    const estimate =
      here && timed ? await estimateRun(plan, session, { load, clock, ...options }) : null
    const { objective } = plan
    // Of pairs and labels unlikely tokens are often meant to be.
    const keepsThem = objective.trainsOn !== "targets" || keepsSpecialTokens(objective)
    const warning = abandonedTokensWarning({ now: statisticsFields(all), keepsThem })
    const found = lrRange ? await learningRateRange(plan, session, options) : undefined
    return {
      sources,
      estimate,
      warnings: [...plan.lints, ...(warning ? [warning] : []), ...(here ? [] : [NO_ESTIMATE])].map(
        ({ code, message, hint }) => ({
          code,
          message,
          hint,
        }),
      ),
      ...(found ? { lr_range: found } : {}),
    }
  } finally {
    await session.release()
    closeRows(plan)
  }
}

/** Shares from which a rollout teaches little. */
const MANY_EQUAL = 0.8
const MANY_TRUNCATED = 0.5

function rolloutWarnings({ zero_variance_groups: equal, truncated, reward }: RolloutProbe) {
  const percent = (share: number) => `${(100 * share).toFixed(0)} %`
  return [
    ...(equal > MANY_EQUAL
      ? [
          {
            code: "zero-variance",
            message: `in ${percent(equal)} of the groups all samples have the same reward (${reward.toFixed(3)} on average), and such a group teaches nothing`,
            hint: "take easier or harder prompts, more samples a prompt (rollout.num_generations), or look at the rewards",
          },
        ]
      : []),
    ...(truncated > MANY_TRUNCATED
      ? [
          {
            code: "truncated-samples",
            message: `${percent(truncated)} of the samples were cut at rollout.max_new_tokens`,
            hint: "raise it, or teach the model its end of turn first (sft)",
          },
        ]
      : []),
  ]
}

/** Rows of each source, chosen by the run's seed. */
function rowsBySource(rows: Prepared, seed: number, most: number): Map<string, PreparedRow[]> {
  const random = randomStream(seed, "probe")
  const order = Array.from({ length: rows.rows }, (_, i) => i)
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  const wanted = rows.manifest.sources.length * most
  const found = new Map<string, PreparedRow[]>()
  for (const index of order.slice(0, 20 * wanted)) {
    const row = rows.sequences(index)[0]!
    const list = found.get(row.source) ?? []
    if (list.length < most) found.set(row.source, [...list, row])
  }
  return found
}

async function probeSources(
  { rows, config, split }: RunPlan,
  session: Session,
  most: number,
  { signal, onProgress }: PlanOptions,
) {
  const sources: SourceProbe[] = []
  let all = NO_TOKENS
  const options = { ...split, packing: true, normalization: "tokens" } as const
  const looked = [...rowsBySource(rows, config.seed, most)].map(([source, chosen]) => {
    return { source, chosen, microBatches: stepBatch(chosen, options).microBatches }
  })
  const tokens = (parts: readonly MicroBatch[]) =>
    parts.reduce((sum, { pack }) => sum + pack.tokenIds.length, 0)
  const total = looked.reduce((sum, { microBatches }) => sum + tokens(microBatches), 0)
  const meter = progressMeter("measuring target probabilities", { unit: "tokens" })
  let done = 0
  onProgress?.(meter(0, total))
  for (const { source, chosen, microBatches } of looked) {
    let statistics = NO_TOKENS
    for (const { pack, columns } of microBatches) {
      signal?.throwIfAborted()
      const outputs = await session.policy.decoder.evaluate(pack, CROSS_ENTROPY)
      statistics = addStatistics(statistics, statisticsOf(outputs, columns.token_class))
      done += pack.tokenIds.length
      onProgress?.(meter(done, total))
    }
    sources.push(sourceProbe(source, chosen.length, statistics))
    all = addStatistics(all, statistics)
  }
  return { sources, all }
}

function sourceProbe(source: string, rows: number, statistics: TokenStatistics): SourceProbe {
  const { nll, mean_p } = statisticsFields(statistics)
  const unlikely =
    statistics.classes.reduce((sum, each) => sum + each.unlikely, 0) / Math.max(1, statistics.count)
  const classes = Object.fromEntries(
    statistics.classes.flatMap(({ count, p, unlikely }, i) =>
      count === 0
        ? []
        : [[TOKEN_CLASSES[i]!, { count, mean_p: p / count, unlikely: unlikely / count }]],
    ),
  )
  const base = { source, rows, supervised_tokens: statistics.count, nll, mean_p, unlikely, classes }
  return { ...base, ...adviceFor(mean_p, unlikely) }
}

/** The rule of thumb of arXiv 2510.00526, and the warning that a mean hides the few that matter. */
function adviceFor(
  meanP: number,
  unlikely: number,
): { readonly advice: Advice; readonly why: string } {
  const p = meanP.toFixed(2)
  const share = `${(100 * unlikely).toFixed(0)} % of the targets are below 0.1`
  if (meanP < SUITS_SFT) {
    return {
      advice: "sft",
      why: `mean p ${p}: the model hardly knows this; DFT would not learn it`,
    }
  }
  if (meanP <= SUITS_DFT) {
    return { advice: "either", why: `mean p ${p}: try both, or a floor or power 0.5 between them` }
  }
  if (unlikely > MANY_UNLIKELY) {
    return {
      advice: "either",
      why: `mean p ${p} suits DFT, but ${share}: if those carry new facts or formats, DFT will not learn them`,
    }
  }
  return {
    advice: "dft",
    why: `mean p ${p}, ${share}: the model knows this kind of text; DFT sharpens it`,
  }
}
