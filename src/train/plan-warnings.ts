/** What of a run's settings is unusual: said before the first step, never a reason to refuse. */

import type { Config } from "../config/index.ts"
import { objectiveFromConfig, pushesAway, SHOWN_P, weightsAt } from "../objectives/index.ts"
import { plural } from "../plural.ts"
import type { WarningEvent } from "../run/events.ts"

export type PlanWarning = Pick<WarningEvent, "code" | "message" | "hint">

/** Fewer updates than this seldom teach anything. */
const FEW_STEPS = 50
/** Steps that a proposed batch size aims at. */
const ENOUGH_STEPS = 100
const MANY_EPOCHS = 10
const MANY_TRUNCATED = 0.05

/**
 * Peaks that people use, by what is trained and how; the widest of published recipes.
 * Models far smaller than those of the recipes take more.
 */
const USUAL_RATES = {
  full: [1e-6, 1e-4],
  adapter: [2e-5, 2e-3],
  "full preference": [5e-8, 1e-5],
  "adapter preference": [1e-6, 2e-4],
} as const
/** Models of fewer parameters have no recipes: only what nothing bears is unusual. */
const RECIPE_PARAMETERS = 50e6
const SMALL_MODEL_RATES = [0, 2e-2] as const

export interface PlanFacts {
  readonly config: Config
  readonly rows: number
  readonly truncated: number
  readonly steps: number
  /** Rows of the whole run, each time that one is seen. */
  readonly rowsSeen: number
  /** undefined: not known before the weights are read. */
  readonly parameters: number | undefined
  /** Of pairs, labels or samples, where small rates are usual. */
  readonly preference: boolean
  /** Answers labelled good and bad; undefined where rows have no labels. */
  readonly labels?: { readonly good: number; readonly bad: number }
}

export function planWarnings(facts: PlanFacts): PlanWarning[] {
  return [
    ...stepWarnings(facts),
    ...truncationWarnings(facts),
    ...rateWarnings(facts),
    ...objectiveWarnings(facts.config),
    ...labelWarnings(facts),
  ]
}

/** What one side may outweigh the other by; 1 to 4/3 is advised (arXiv 2402.01306, 5.2). */
const OUTWEIGHED = 2

function labelWarnings({ config, labels }: PlanFacts): PlanWarning[] {
  const { name, parameters } = objectiveFromConfig(config.objective)
  if (name !== "kto" || labels === undefined) return []
  const { good, bad } = labels
  const code = "unbalanced-labels"
  if (good === 0 || bad === 0) {
    const message = `all ${good + bad} answers are labelled ${bad === 0 ? "good" : "bad"}`
    const hint =
      "KTO learns from both; add rows of the other kind, or take another objective (sft for good answers)"
    return [{ code, message, hint }]
  }
  const [desirable, undesirable] = [
    Number(parameters.desirable_weight ?? 1),
    Number(parameters.undesirable_weight ?? 1),
  ]
  const [up, down] = [desirable * good, undesirable * bad]
  if (up <= OUTWEIGHED * down && down <= OUTWEIGHED * up) return []
  const message = `${good} answers are labelled good and ${bad} bad: with objective.desirable_weight ${desirable} and undesirable_weight ${undesirable} the ${up > down ? "good" : "bad"} ones outweigh the others`
  const even =
    bad > good
      ? `desirable_weight: ${round((undesirable * bad) / good)}`
      : `undesirable_weight: ${round((desirable * good) / bad)}`
  const hint = `the larger side decides what is learnt, and bad answers teach only what not to say; objective: { name: kto, ${even} } makes the sides even`
  return [{ code, message, hint }]
}

const round = (x: number) => Number(x.toPrecision(2))

/** Of objectives of one's own, the run's and those of its sources: those that push targets away. */
export function objectiveWarnings({ objective, data }: Config): PlanWarning[] {
  const sources = data.train.flatMap(({ objective: own }, i) => {
    return own === undefined ? [] : [{ key: `data.train[${i}].objective`, settings: own }]
  })
  return [{ key: "objective", settings: objective }, ...sources].flatMap(({ key, settings }) => {
    if (typeof settings === "string" || settings.expression === undefined) return []
    const { expression, trainsOn, name } = objectiveFromConfig(settings)
    if (trainsOn !== "targets") return [] // pairs, labels and rewards push away on purpose
    const weights = weightsAt({ expression }, SHOWN_P, { tokenClass: 0, progress: 0.5 })
    if (weights === undefined || !pushesAway(weights)) return []
    const lowest = Math.min(...weights)
    const p = SHOWN_P[weights.indexOf(lowest)]!
    return [
      {
        code: "pushes-tokens-away",
        message: `${key} ${name} pushes some tokens of the answers away: a token of probability ${p.toPrecision(2)} gets the weight ${lowest.toPrecision(2)}, and is made less likely`,
        hint: "if a probability is meant as a weight, the gradient must not flow through it: sg(p) * nll (detach in an expression), not p * nll. If it is meant, go on",
      },
    ]
  })
}

function stepWarnings({ config, rows, steps, rowsSeen }: PlanFacts): PlanWarning[] {
  const found: PlanWarning[] = []
  const epochs = rowsSeen / rows
  if (steps < FEW_STEPS) {
    const batch = Math.max(1, Math.floor(rowsSeen / ENOUGH_STEPS))
    const advice =
      config.max_steps !== null
        ? "raise max_steps, or leave it out"
        : batch >= 4 && batch < config.batch_size
          ? `batch_size: ${batch} would make about ${Math.ceil(rowsSeen / batch)} steps of the same rows`
          : "raise num_train_epochs, lower batch_size, or add rows"
    found.push({
      code: "few-steps",
      message: `this run makes ${steps} optimizer ${plural(steps, "step")}; a model seldom learns much in fewer than ${FEW_STEPS}`,
      hint: `${advice} (${rows} rows, batch_size ${config.batch_size})`,
    })
  }
  if (epochs > MANY_EPOCHS) {
    found.push({
      code: "many-epochs",
      message: `each row is seen ${epochs.toFixed(0)} times; models begin to recite rows seen that often`,
      hint: `lower max_steps or num_train_epochs: one pass over the rows is ${Math.ceil(rows / config.batch_size)} steps`,
    })
  }
  return found
}

function truncationWarnings({ config, rows, truncated }: PlanFacts): PlanWarning[] {
  const share = truncated / rows
  if (share <= MANY_TRUNCATED) return []
  return [
    {
      code: "many-truncated",
      message: `${(100 * share).toFixed(0)} % of the rows are cut at data.max_length ${config.data.max_length}: their ends are never trained`,
      hint: "raise data.max_length (dftune preview shows how long the rows are), or leave long rows out",
    },
  ]
}

function rateWarnings({ config, parameters, preference }: PlanFacts): PlanWarning[] {
  if (parameters === undefined) return []
  const isSmall = parameters < RECIPE_PARAMETERS
  const trained = config.adapter === null ? "full" : "adapter"
  const known = USUAL_RATES[preference ? (`${trained} preference` as const) : trained]
  const [low, high] = isSmall ? SMALL_MODEL_RATES : known
  const rate = config.learning_rate
  if (rate >= low && rate <= high) return []
  const what = trained === "full" ? "full fine-tuning" : "an adapter"
  return [
    {
      code: "unusual-learning-rate",
      message: `learning_rate ${rate} is ${rate < low ? "below" : "above"} what is usual for ${what}${preference ? " on preferences" : ""} (${low === 0 ? "up" : low} to ${high})`,
      hint: "dftune probe CONFIG --lr-range tries some",
    },
  ]
}
