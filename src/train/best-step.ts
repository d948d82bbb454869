/** Which evaluation was the best, and when to wait no longer for a better one. */
import type { Config } from "../config/index.ts"
import { InputError } from "../errors.ts"
import type { EventBody } from "../run/events.ts"

/** The best evaluation so far. */
export interface Best {
  readonly step: number
  readonly value: number
  /** Evaluations since, none better. */
  readonly waited: number
}

export type BestSettings = Pick<
  Config,
  | "load_best_model_at_end"
  | "metric_for_best_model"
  | "greater_is_better"
  | "early_stopping_patience"
  | "early_stopping_threshold"
>

/** Whether anybody asks which evaluation is the best. */
const watchesBest = (settings: Partial<BestSettings>): boolean =>
  settings.load_best_model_at_end === true || (settings.early_stopping_patience ?? null) !== null

/** As Transformers names them: `eval_loss` is `loss`, `SET.loss` that of one set. */
function metricName(metric: string): { readonly set: string | undefined; readonly field: string } {
  const [, set, field] = /^(?:(.+)\.)?(?:eval_)?(.+)$/.exec(metric)!
  return { set, field: field! }
}

/** The metric in the first of these events that has it. */
function metricIn(
  events: readonly EventBody[],
  { metric_for_best_model: metric }: Pick<BestSettings, "metric_for_best_model">,
): number | undefined {
  const { set, field } = metricName(metric)
  for (const event of events) {
    if (event.type !== "eval" || (set !== undefined && event.name !== set)) continue
    const value = (event as unknown as Readonly<Record<string, unknown>>)[field]
    if (typeof value === "number") return value
  }
  return undefined
}

/** What is known after another evaluation; a value that is no number is never the best. */
export function afterEvaluation(
  before: Best | undefined,
  { step, value }: { readonly step: number; readonly value: number },
  {
    metric_for_best_model: metric,
    greater_is_better: asked,
    early_stopping_threshold: threshold,
  }: BestSettings,
): Best | undefined {
  const { field } = metricName(metric)
  const greater = asked ?? (!field.endsWith("loss") && field !== "nll")
  if (before === undefined) return Number.isFinite(value) ? { step, value, waited: 0 } : undefined
  const gain = greater ? value - before.value : before.value - value
  if (Number.isFinite(value) && gain > 0) {
    return { step, value, waited: gain > threshold ? 0 : before.waited + 1 }
  }
  return { ...before, waited: before.waited + 1 }
}

/** How far a run is, with what is known of its evaluations. */
interface Judged {
  readonly step: number
  readonly best?: Best
}

/**
 * Passes an evaluation's events on, and takes note of what the settings watch in them.
 *
 * @throws InputError where no evaluation has the metric
 */
export async function* judged<Progress extends Judged>(
  settings: Partial<BestSettings>,
  progress: Progress,
  events: AsyncIterable<EventBody>,
): AsyncGenerator<EventBody, Progress> {
  const seen: EventBody[] = []
  for await (const event of events) {
    seen.push(event)
    yield event
  }
  if (!watchesBest(settings)) return progress
  const asked = settings as BestSettings
  const value = metricIn(seen, asked)
  if (value === undefined) {
    throw new InputError(
      `metric_for_best_model: ${asked.metric_for_best_model} is in no evaluation of this run; name a number of its eval events, such as loss, nll or mean_p, or SET.loss of one set`,
    )
  }
  const { step } = progress
  const best = afterEvaluation(progress.best, { step, value }, asked)
  return best ? { ...progress, best } : progress
}

/** Whether the run has waited long enough for a better evaluation. */
export function hasWaited(
  best: Best | undefined,
  { early_stopping_patience: patience = null }: Partial<BestSettings>,
): best is Best {
  return patience !== null && best !== undefined && best.waited >= patience
}

export function stoppedEarly(
  step: number,
  { step: best, value, waited }: Best,
  { metric_for_best_model: metric, load_best_model_at_end: loads }: Partial<BestSettings>,
): EventBody {
  return {
    type: "warning",
    step,
    code: "stopped-early",
    message: `no evaluation has been better than that of step ${best} (${metric} ${value.toPrecision(5)}) for ${waited} in a row, so the run ends here`,
    hint: loads
      ? "the result is the best step's"
      : "load_best_model_at_end: true makes the best step's model the result",
  }
}
