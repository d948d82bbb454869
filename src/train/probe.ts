import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { Config } from "../run/config.ts"
import { InputError } from "../run/errors.ts"
import { randomStream } from "../run/random.ts"
import { abandonedTokensWarning, keepsSpecialTokens } from "./abandoned-tokens.ts"
import { lossInputs } from "./loss-inputs.ts"
import { stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY, objectiveHead } from "./objective-head.ts"
import { type PlanOptions, planRun, type RunPlan } from "./plan.ts"
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
/** Above this mean probability DFT suits the data, below the other cross-entropy does (METHOD.md, section 3). */
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

export interface RangePoint {
  readonly learning_rate: number
  readonly loss: number
  readonly nll: number
}

export interface ProbeResult {
  readonly sources: readonly SourceProbe[]
  /** Of the whole run, measured on a real step. */
  readonly estimate: {
    readonly memory_bytes: number
    readonly seconds: number
    readonly tokens_per_second: number
    readonly steps: number
  }
  readonly warnings: readonly { code: string; message: string; hint: string }[]
  readonly lr_range?: { readonly points: readonly RangePoint[]; readonly suggested: number | null }
}

/** Before training: does the data suit the objective, what will it cost, which learning rate. */
export async function probe(
  config: Config,
  { lrRange = false, ...options }: PlanOptions & { readonly lrRange?: boolean } = {},
): Promise<ProbeResult> {
  const plan = await planRun(config, options)
  const session = await openSession(plan, options.signal ? { signal: options.signal } : {})
  try {
    options.onProgress?.("measuring target probabilities")
    const { sources, all } = await probeSources(plan, session, options.signal)
    options.onProgress?.("measuring a step")
    const estimate = await probeStep(plan, session)
    const keepsThem = keepsSpecialTokens(plan.objective)
    const warning = abandonedTokensWarning({ now: all, keepsThem })
    const found = lrRange ? await learningRateRange(plan, session, options) : undefined
    return {
      sources,
      estimate,
      warnings: [...plan.lints, ...(warning ? [warning] : [])].map(({ code, message, hint }) => ({
        code,
        message,
        hint,
      })),
      ...(found ? { lr_range: found } : {}),
    }
  } finally {
    await session.release()
    plan.rows.close()
    for (const { rows } of plan.evalSets) rows.close()
  }
}

/** Rows of each source, chosen by the run's seed. */
function rowsBySource(rows: Prepared, seed: number): Map<string, PreparedRow[]> {
  const random = randomStream(seed, "probe")
  const order = Array.from({ length: rows.rows }, (_, i) => i)
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  const wanted = rows.manifest.sources.length * ROWS_PER_SOURCE
  const found = new Map<string, PreparedRow[]>()
  for (const index of order.slice(0, 20 * wanted)) {
    const row = rows.row(index)
    const list = found.get(row.source) ?? []
    if (list.length < ROWS_PER_SOURCE) found.set(row.source, [...list, row])
  }
  return found
}

async function probeSources({ rows, config }: RunPlan, session: Session, signal?: AbortSignal) {
  const sources: SourceProbe[] = []
  let all = NO_TOKENS
  for (const [source, chosen] of rowsBySource(rows, config.seed)) {
    const { microBatches } = stepBatch(chosen, {
      capacity: config.micro_batch_tokens,
      packing: true,
      normalization: "tokens",
    })
    let statistics = NO_TOKENS
    for (const { pack, tokenClass } of microBatches) {
      signal?.throwIfAborted()
      const outputs = await session.policy.decoder.evaluate(pack, CROSS_ENTROPY)
      statistics = addStatistics(statistics, statisticsOf(outputs, tokenClass))
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
export function adviceFor(
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

/** One optimizer step's forward and backward at learning rate 0, twice: the first one warms up. */
async function probeStep(plan: RunPlan, session: Session): Promise<ProbeResult["estimate"]> {
  const { config, order, objective } = plan
  const head = objectiveHead(objective)
  const { decoder } = session.policy
  const rows = Array.from(order.stepRows(0), (index) => plan.rows.row(index))
  const batch = stepBatch(rows, {
    capacity: config.micro_batch_tokens,
    packing: config.data.packing,
    normalization: objective.normalization,
  })
  const scalars = { progress: 0, step: 1, steps: order.steps }
  const total = batch.microBatches.reduce((sum, { pack }) => sum + pack.labels.length, 0)
  // Enough micro-batches to time, not the whole step.
  const microBatches = batch.microBatches.slice(0, 3)
  const inputs = await lossInputs({
    decoder,
    head,
    microBatches,
    scalars,
    reference: session.reference,
    oldLogprobs: head.needsOldLogprobs ? new Float32Array(total) : undefined,
  })
  const trainOne = async (i: number) => {
    const microBatch = microBatches[i]!
    const began = performance.now()
    await decoder.train(microBatch.pack, head.settings, await inputs(microBatch, i))
    return (performance.now() - began) / 1000
  }
  await trainOne(0)
  let seconds = 0
  let tokens = 0
  for (const [i, { pack }] of microBatches.entries()) {
    seconds += await trainOne(i)
    tokens += pack.tokenIds.length
  }
  const began = performance.now()
  await session.policy.squaredGradientNorm()
  await session.policy.update({ step: 1, learningRate: 0, gradientScale: 1 })
  const update = (performance.now() - began) / 1000
  await decoder.zeroGradients()
  const perToken = seconds / tokens
  const runTokens = (plan.rows.manifest.tokens / plan.rows.rows) * order.rows
  const passes = head.firstPass ? 4 / 3 : 1
  const runSeconds = runTokens * perToken * passes + order.steps * update
  return {
    memory_bytes: process.memoryUsage.rss(),
    seconds: runSeconds,
    tokens_per_second: runTokens / runSeconds,
    steps: order.steps,
  }
}

const RANGE_STEPS = 30
const RANGE: readonly [number, number] = [1e-7, 1e-1]

/**
 * A learning-rate range test (Smith, arXiv 1506.01186): the rate grows by a factor each step until
 * the cross-entropy is half again what it was. Suggested is a third of the rate where the
 * objective's loss was lowest. The weights are spoiled by it and thrown away.
 */
async function learningRateRange(
  plan: RunPlan,
  session: Session,
  { signal, onProgress }: PlanOptions,
) {
  const { config, order, objective } = plan
  const head = objectiveHead(objective)
  if (head.needsOldLogprobs) {
    throw new InputError(`--lr-range: ${objective.name} has no meaning outside its run of updates`)
  }
  const { decoder } = session.policy
  const points: RangePoint[] = []
  for (let step = 1; step <= RANGE_STEPS; step++) {
    signal?.throwIfAborted()
    onProgress?.(`learning-rate range test: step ${step} of ${RANGE_STEPS}`)
    const rate = RANGE[0] * (RANGE[1] / RANGE[0]) ** ((step - 1) / (RANGE_STEPS - 1))
    const indices = order.stepRows((step - 1) % order.steps)
    const batch = stepBatch(
      Array.from(indices, (index) => plan.rows.row(index)),
      { capacity: config.micro_batch_tokens, packing: true, normalization: "tokens" },
    )
    const inputs = await lossInputs({
      decoder,
      head,
      microBatches: batch.microBatches,
      scalars: { progress: 0.5, step, steps: RANGE_STEPS },
      reference: session.reference,
      oldLogprobs: undefined,
    })
    await decoder.zeroGradients()
    let statistics = NO_TOKENS
    for (const [i, microBatch] of batch.microBatches.entries()) {
      const outputs = await decoder.train(
        microBatch.pack,
        head.settings,
        await inputs(microBatch, i),
      )
      statistics = addStatistics(statistics, statisticsOf(outputs, microBatch.tokenClass))
    }
    const { loss, nll } = statisticsFields(statistics)
    points.push({ learning_rate: rate, loss, nll })
    if (!Number.isFinite(nll) || nll > 1.5 * points[0]!.nll + 0.5) break
    await session.policy.update({
      step,
      learningRate: rate,
      gradientScale: 1 / batch.supervisedTokens,
    })
  }
  return { points, suggested: suggestedRate(points) }
}

/** A third of the rate at the lowest smoothed loss; null where it never fell. */
export function suggestedRate(points: readonly RangePoint[]): number | null {
  const smooth = points.map((_, i) => {
    const near = points.slice(Math.max(0, i - 1), i + 2).filter(({ loss }) => Number.isFinite(loss))
    return near.reduce((sum, { loss }) => sum + loss, 0) / Math.max(1, near.length)
  })
  let best = 0
  for (const [i, loss] of smooth.entries()) if (loss < smooth[best]!) best = i
  return best === 0 ? null : points[best]!.learning_rate / 3
}
